"""Chats and channels as people read them: the rows of the projections, and the log above them."""
