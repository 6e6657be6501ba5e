"""The twins of ``adapters/postgres/accounts``."""
