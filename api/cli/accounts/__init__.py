"""``steno login``, ``user``, ``key``, ``session``: accounts and what they may do."""
