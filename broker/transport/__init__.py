"""Queues between the roles: one contract, kept in process (embedded) and by RabbitMQ (production)."""
