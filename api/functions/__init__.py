"""Functions over HTTP, for admins: ``functions.py`` puts them in and switches them, ``valves.py`` sets them.

Users set valves of their own.
"""
