"""An arena: a model that hands each question to one of several others, picked at random."""

import random
from collections.abc import Callable, Sequence

from domain.routing.model import ModelEntry

Choose = Callable[[Sequence[str]], str]  # one of a list that is not empty

choose_at_random: Choose = random.SystemRandom().choice


def named_by(arena: ModelEntry) -> list[str]:
    """The models that it picks from, each once; empty where it picks from all others, or from all but those that it names."""
    return [] if arena.excludes else list(dict.fromkeys(arena.arena_model_ids))


def not_excluded(arena: ModelEntry, models: Sequence[str]) -> list[str]:
    excluded = frozenset(arena.arena_model_ids) if arena.excludes else frozenset[str]()
    return [one for one in models if one not in excluded]
