"""The port to providers, and the providers there are. Start with ``provider.py``."""
