"""SMS over SMPP 3.4: the client channel and a simulated SMSC."""
