"""What Open WebUI's own page needs beside its routes: its Socket.IO endpoint and its files.

``packets.py`` parses and makes packets, ``envelopes.py`` makes envelopes of a chat's events, ``channel_envelopes.py`` of a channel's, all
without IO. ``page_socket.py`` is one socket, ``page_channels.py`` its channels, ``page_calls.py`` the questions to its user;
``channel_room.py`` is one channel for all sockets of a process, ``page_sockets.py`` all sockets, ``front_end.py`` the page's files.
"""
