"""XML signatures of alerts: making them, verifying them, and the certificates that they are verified with."""
