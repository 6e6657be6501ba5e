"""A chat as an aggregate. Read ``facts.py`` first, then ``decide.py``: one function a command.

``state.py`` holds only what decisions read. The link to a snapshot, which a chat may have, is in ``domain/chat/sharing.py``; an answer
while it is generated is in ``domain/generation.py``.
"""
