"""Real processes, killed, stopped and cut off from each other at bad moments.

Start reading at ``support.py``: what clients saw (``Tab``), what the log holds (``Log``), and what must be so of both. ``processes.py``
starts what is killed, ``proxy.py`` stands between a server and its Postgres.
"""
