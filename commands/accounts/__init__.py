"""Accounts: who they are, how they sign in, and what they may use. Start with ``accounts.py``.

``registration.py`` makes them, ``passwords.py`` and ``sessions.py`` sign them in, ``authentication.py`` finds out who is calling, and a
``Principal`` (``principal.py``) says it. ``usage.py`` holds the quotas, ``attempts.py`` the brake on guessing passwords.
"""
