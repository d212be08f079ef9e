"""Durable state: one contract, kept by SQLite (embedded) and PostgreSQL (production)."""
