"""What is on the wire.

Litestar routes, the WebSocket and SSE loops, wire types (``…In`` and ``…Out``) and the table from error to status. Start with
``app.py``, which wires everything and is the only module that constructs adapters; ``settings.py`` is what an operator can set,
and ``cli.py`` is the ``steno`` command.
"""
