"""Where answers come from: adapters of the port in ``commands/providers.py``.

Start with ``router.py``, the set of all configured connections. ``openai.py`` and ``ollama.py`` speak to servers over httpx
and share ``http.py`` (failures), ``sse.py`` and ``lines.py`` (cutting bytes into events), ``ends.py`` (why an answer ended) and
``beside.py`` (what it says beside its text). ``flow.py`` tells new text from repeated text. ``demo.py`` needs nothing at all.
``client.py`` makes the ``httpx.AsyncClient`` that all connections without a proxy share, on the transport of ``transport.py``.
"""
