"""How Postgres and other services are reached: one folder for each of them.

Classes that satisfy the ports of ``commands/ports.py`` and ``projections/ports.py`` by shape, each with a twin in ``memory/``. This is
the only package that imports a database driver, and the last place that sees a driver's exception. Start with
``postgres/appending/appender.py``, the one way into the log.
"""
