"""From a released alert to published batches: planning in one transaction, then the relay of the outbox."""
