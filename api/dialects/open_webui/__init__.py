"""What Open WebUI's own page needs beside its routes: its Socket.IO endpoint and its files.

``packets.py`` parses and makes packets, ``envelopes.py`` makes envelopes of a chat's events, both without IO. ``page_socket.py`` is one
socket, ``page_sockets.py`` all of a process, ``front_end.py`` the page's files.
"""
