"""Where functions run: pipes, filters and actions that others wrote in Python.

Start with ``runtime.py``, the port of ``commands/routing/functions.py``. ``loading.py`` makes a module of a source, ``valves.py`` its
settings, ``parameters.py`` what a method gets; ``threads.py`` and ``loops.py`` run what is synchronous and asynchronous, away from the
server's event loop; ``pipes.py`` makes models of pipes, ``folder.py`` reads the server's folder. ``compat`` holds the few modules of
Open WebUI that functions import. No module here starts a thread or imports pydantic before there is a function.
"""
