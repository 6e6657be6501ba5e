"""What puts load on a server: chats and people, a model that costs nothing, and clients whose own cost is small.

Start with ``provider.py`` (the model, a process of its own) and ``sockets.py`` (the load client, in the process of the benchmark).
``dataset.py`` makes the standard log.
"""
