"""What analysts count: rows without a word that anybody said, and the questions that are asked of them.

``rows.py`` is what the tables hold, ``fold.py`` how events change it, ``projection.py`` runs that on the tables. ``catalogue.py`` names
what can be asked, ``question.py`` is one question, ``answering.py`` answers it from rows in memory. ``elo.py`` ranks models by their duels.
"""
