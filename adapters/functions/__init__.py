"""Where functions run: pipes, filters and actions that others wrote in Python.

Start with ``runtime.py``, the port of ``commands/functions/functions.py``. ``loader.py`` follows the log: ``loading.py`` makes a function
in memory (``loaded.py``) of a source, ``valves.py`` its settings. ``calling.py`` calls a method with what ``parameters.py`` gives it and
``side.py`` lets it emit; ``running.py`` has the threads (``threads.py``) and the loops (``loops.py``) for that, away from the server's
own. ``pipes.py`` makes models of pipes, ``folder.py`` reads the server's folder. ``compat`` holds the few modules of Open WebUI that
functions import.

No module here starts a thread or imports pydantic before there is a function.
"""
