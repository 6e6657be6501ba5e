"""What we claim, as commands anyone can run: ``python -m bench NAME [--json FILE] [--quick]``.

Each benchmark measures the raw limit (the same statement or bytes, without our code) in the same run and prints the ratio.
Results with the facts of the machine they were made on are in ``docs/benchmarks.md``; ``page.py`` puts them there.

Start with ``bench/latency.py``: a claim is one module, ``run(bench) -> list[Line]``. What they share is small:

- ``report.py``    a line of a result, percentiles, the table; ``machine.py`` what the machine is
- ``host.py``      the database, the server and the helper processes of one run, all ended with it
- ``provider.py``  a model that streams numbered, time-stamped chunks: a process of its own
- ``bare.py``      the bare way: provider → one call of ``append_batch`` at a time → socket; a process of its own
- ``asgi.py``      a bare ASGI sender under the server's own WebSocket implementation; a process of its own
- ``sockets.py``   the load client: raw sockets with hand-made frames, in the process of the benchmark itself

All of it stays on the loopback interface. CLOCK_MONOTONIC is one clock for all processes, so a time-stamp can cross them.
"""
