"""What the channels that are fetched by devices share: mailboxes, tokens, streams, reports, and the far end."""
