"""Receipts into the ledger, and the end of an alert: completion, expiry, erasure."""
