"""A person's chats: reading and changing them, lists, folders and shares. Start with ``chats.py`` and ``chat_reader.py``."""
