"""``/v1/responses``: OpenAI's Responses on the log. A response is one answer of a model: its id names the chat and the message.

Start with ``routes.py``. ``service.py`` begins and reads responses, ``request.py`` and ``items.py`` say what a body asks for,
``events.py`` turns events of the log into those of a response. Why it is so: docs/decisions/0036-dialects.md.
"""
