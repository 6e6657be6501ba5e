"""Providers over HTTP, for admins: the routes of Open WebUI for whole lists, and one of ours for each provider.

Start with ``providers.py``; ``lists.py`` holds the routes for whole lists, ``fixed.py`` the providers that stand in the settings.
"""
