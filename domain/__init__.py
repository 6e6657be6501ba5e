"""What can happen, and what is refused.

Events, commands, states, ``decide`` and ``evolve``, as pure functions: no clock, no randomness, no ``await``, and no import
beyond the standard library and msgspec. Start with ``domain/chat/``; the errors are drawn as one tree in ``domain/errors/``.
"""
