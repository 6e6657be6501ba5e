"""The log in Postgres. Start with ``appender.py`` (the one way in), then ``log.py`` (reading), ``bell.py`` (waking readers)."""
