"""How committed events reach clients: WebSocket, SSE, long-poll and pages, all on one cursor (docs/protocol.md).

``frames.py`` is the pure state machine of a WebSocket; ``socket.py`` is the loop around it. ``access.py`` ends subscriptions whose
access has ended.
"""
