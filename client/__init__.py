"""A small Python client that resumes by cursor and yields each event exactly once.

It speaks the protocol of ``docs/protocol.md`` over websockets and httpx, and imports no other package of this project, so that it
can be copied out of it. Start with ``client.follow``.
"""
