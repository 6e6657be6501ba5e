"""A channel: people, and the models that they ask, in one room. Start with ``facts.py``.

``rights.py`` says who may do what, ``decide.py`` applies it to a command, ``evolve.py`` makes the next state. A channel is read in part:
a decision needs the channel itself, its members, and the few messages that the command names.
"""
