"""``steno channels`` and ``steno channel``: ``room.py`` is what is seen and typed in one, ``line_editor.py`` the line that is typed."""
