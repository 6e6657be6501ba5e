"""The same work without our code: what any server would have to do at least. A claim is a ratio to one of these.

``token.py`` takes a token from a provider to a socket, ``sender.py`` sends bytes to sockets, ``log.py`` reads a whole log.
"""
