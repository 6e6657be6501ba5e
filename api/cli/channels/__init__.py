"""``steno channels`` and ``steno channel``: ``room.py`` is what is seen and obeyed in one, ``keyboard.py`` what is typed there and for what
it is meant, ``line_editor.py`` the line that is typed.
"""
