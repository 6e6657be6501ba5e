"""Where answers come from: adapters of the port in ``commands/providers/provider.py``.

Start with ``router.py``, the set of all configured connections, which ``factory.py`` makes. ``openai/`` and ``ollama/`` speak to servers
over ``http/``; ``answers/`` has what their streamed answers share. ``direct.py`` is a provider that the asker's own tab reaches, and
``demo/`` needs nothing at all.
"""
