"""How one command becomes appended events.

Handlers fold a stream, decide, and append at the version they have seen; ``commands/ports.py`` says what they need from the
outside, as Protocols. Imports ``domain`` and ``projections``. Start with ``commands/ports.py``, then ``commands/chats/chats.py``.
"""
