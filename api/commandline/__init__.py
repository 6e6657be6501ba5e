"""What ``steno`` does, one module for each group of commands. ``api/cli.py`` puts them together.

``place.py`` knows which server is meant and who one is there; ``talk.py`` and ``lanes.py`` turn events into what a person reads, and
do no IO.
"""
