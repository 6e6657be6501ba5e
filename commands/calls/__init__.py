"""Calls to the user, and answers that the user's own tab gives. Start with ``calls.py``."""
