"""Accounts: who they are, how they sign in, and what they may use. Start with ``accounts.py``.

``principal.py`` says who is calling, ``usage.py`` holds the quotas, ``attempts.py`` the brake on guessing passwords.
"""
