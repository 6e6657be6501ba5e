"""What a reader sees.

One module per view. ``projection.py`` says what a projection is: a pure function from events to named reads and writes. Nothing is
performed here; an adapter answers the reads, runs the writes and moves the view's checkpoint in the same transaction. Start with
``chat.py`` (one chat, folded), then ``chat_tree.py`` (the same as rows, at any version). Imports ``domain`` only.
"""
