"""Filters around an answer: which run, what each gets and returns, and what it changed. Start with ``filters.py``."""
