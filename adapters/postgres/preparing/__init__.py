"""Checks of a database before servers use it (its version, how many connections it allows), and the migrations of its tables."""
