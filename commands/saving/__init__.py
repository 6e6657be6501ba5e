"""Saving a whole chat: ``saved_chat.py`` is what the client sent, ``saver.py`` merges it into the chat."""
