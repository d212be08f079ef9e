"""The steps that bring a store's tables up to date, run by Alembic inside one transaction."""
