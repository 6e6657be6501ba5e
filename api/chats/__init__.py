"""Routes for chats: one chat and its messages (``chat.py``), lists, folders, the past, sharing, files in and out.

Start with ``chat.py``. Each module is one group of routes below ``/api/v1/chats``, or ``/api/v1/folders``.
"""
