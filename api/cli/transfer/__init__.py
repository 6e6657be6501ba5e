"""``steno import``, ``export``: chats from and to files."""
