"""An arena: a model that hands each question to one of several others, picked at random."""

import random
from collections.abc import Callable, Sequence

from domain.model import ModelEntry

Choose = Callable[[Sequence[str]], str]  # one of a list that is not empty

choose_at_random: Choose = random.SystemRandom().choice


def pool_of(arena: ModelEntry, usable: Sequence[str]) -> list[str]:
    """The models to pick from. ``usable`` are no arenas: all of them, those that the arena names, or all but those."""
    named = dict.fromkeys(arena.arena_model_ids)
    if arena.excludes:
        return [one for one in usable if one not in named]
    if not named:
        return list(usable)
    known = frozenset(usable)
    return [one for one in named if one in known]
