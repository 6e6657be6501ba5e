"""What is on the wire: HTTP routes, the WebSocket and SSE loops, and the ``steno`` command. One folder for each subject.

``app.py`` wires everything and is the only module that constructs adapters; ``settings.py`` holds what an operator can set. A route
parses, calls a command or a projection, and wraps the result; the rules are in ``commands`` and ``domain``.
"""

from adapters.light_libraries import load_without_terminals

load_without_terminals()  # before any module below imports them
