"""``/v1/messages``: Anthropic's Messages for any model here.

Start with ``routes.py``. ``request.py`` puts a body into the form of chat completions, ``events.py`` turns events of the log into those
of a message.
"""
