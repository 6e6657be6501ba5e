"""How Postgres and other services are reached.

Classes that satisfy the ports of ``commands/ports.py`` by shape, each with an in-memory twin. This is the only package that
imports a database driver, and the last place that sees a driver's exception. ``embedded.py`` runs the built-in Postgres and
``migrate.py`` brings a database up to date; both can be read on their own.
"""
