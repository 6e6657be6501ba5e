"""The built-in Postgres, which runs when ``DATABASE_URL`` is unset. Start with ``server.py``."""
