"""``steno chat``, ``replay``, ``tail``: conversations in the terminal."""
