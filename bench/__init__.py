"""What we claim, as commands anyone can run: ``python -m bench NAME [--json FILE] [--quick]``.

Each benchmark measures the raw limit (the same statement or bytes, without our code) in the same run and prints the ratio.
Results with the facts of the machine they were made on are in ``docs/benchmarks.md``; ``page.py`` puts them there.

- ``claims/``     one module for each claim: start with ``claims/latency.py``
- ``load/``       what puts load on a server
- ``bare_ways/``  the same work without our code
- ``host.py``     the database, the server and the helper processes of one run, all ended with it
- ``report.py``   a line of a result, percentiles, the table; ``machine.py`` what the machine is
- ``compare.py``  chosen benchmarks of two revisions by turns

All of it stays on the loopback interface. CLOCK_MONOTONIC is one clock for all processes, so a time-stamp can cross them.
"""
