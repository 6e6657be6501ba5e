"""Accounts, their API keys, groups of them, and who may use a thing."""
