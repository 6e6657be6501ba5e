"""Does it hold? The folders mirror the packages; ``tests/README.md`` says how to run them.

``tests/domain`` and ``tests/projections`` need no database, ``tests/adapters`` runs on a real Postgres, ``tests/api`` runs the app on
the in-memory log. ``conftest.py`` says how a test gets its database; ``test_layering.py`` holds the rules of who may import whom.
"""
