"""What a reader sees.

One module per view: a pure function from an event to the named writes it causes. Nothing is performed here; an adapter runs the
writes and moves the view's checkpoint in the same transaction. Imports ``domain`` only.
"""
