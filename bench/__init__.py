"""What we claim, as commands anyone can run: ``python -m bench NAME [--json FILE]``.

Each benchmark measures the raw limit (the same statement or bytes, without our code) in the same run and prints the ratio.
Results with the facts of the machine they were made on are in ``docs/benchmarks.md``.
"""
