"""Ranks models by their duels.

The ratings are those under which the duels that were seen are most likely (Bradley and Terry, 1952), on the scale of Elo: 400 points are
odds of ten to one, and the mean of all models is 1,000. Unlike Elo's own updates they do not hang on the order of the duels. How sure they
are is asked of the duels themselves: drawn again with replacement, many times, each time with ratings of their own (the bootstrap).
"""

import math
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from projections.figures.ports import DuelCount

MEAN: Final = 1_000.0
SCALE: Final = 400 / math.log(10)
ROUNDS: Final = 200  # of the bootstrap
DRAWN_MAX: Final = 5_000  # duels in a round: of more the interval is widened no further than it is for these
STEPS_MAX: Final = 200
CLOSE_ENOUGH: Final = 1e-6
# Every pair of models that met has half a duel more, won by each by halves: one that has won all it fought is not infinitely strong.
PRIOR: Final = 0.5


class Ranked(msgspec.Struct, frozen=True):
    """``low`` and ``high`` hold the rating in 95 of 100 draws of the same duels."""

    model_id: str
    rating: float
    low: float
    high: float
    won: int
    lost: int


def ranked(duels: Sequence[DuelCount], *, rounds: int = ROUNDS, seed: int = 0) -> list[Ranked]:
    """The best first. The same duels have the same answer."""
    counts = {(one.winner_model_id, one.loser_model_id): float(one.duels) for one in duels}
    if not counts:
        return []
    rating = ratings(counts)
    choose, pairs, weights = random.Random(seed), list(counts), list(counts.values())  # noqa: S311  # it guards nothing
    total = int(sum(weights))
    drawn = min(total, DRAWN_MAX)
    samples: dict[str, list[float]] = {model: [] for model in rating}
    for _ in range(rounds):
        sample = Counter(choose.choices(pairs, weights, k=drawn))
        # A model that was not drawn met nobody, and stands where nothing is known of it.
        for model, value in ratings({pair: float(sample.get(pair, 0)) for pair in pairs}).items():
            samples[model].append(value)
    spread = math.sqrt(drawn / total)
    won = Counter[str]()
    lost = Counter[str]()
    for one in duels:
        won[one.winner_model_id] += one.duels
        lost[one.loser_model_id] += one.duels
    found = []
    for model, value in rating.items():
        ordered = sorted(samples[model])
        low, high = ordered[int(0.025 * len(ordered))], ordered[min(len(ordered) - 1, int(0.975 * len(ordered)))]
        low, high = value + (low - value) * spread, value + (high - value) * spread
        found.append(Ranked(model, value, min(low, value), max(high, value), won[model], lost[model]))
    return sorted(found, key=lambda one: (-one.rating, one.model_id))


def ratings(counts: Mapping[tuple[str, str], float]) -> dict[str, float]:
    """By model, from how often each has won against each other."""
    met: dict[str, dict[str, float]] = {}
    won: dict[str, float] = {}
    for winner, loser in sorted({(min(pair), max(pair)) for pair in counts}):
        forth, back = counts.get((winner, loser), 0.0) + PRIOR / 2, counts.get((loser, winner), 0.0) + PRIOR / 2
        met.setdefault(winner, {})[loser] = met.setdefault(loser, {})[winner] = forth + back
        won[winner] = won.get(winner, 0.0) + forth
        won[loser] = won.get(loser, 0.0) + back
    strength = dict.fromkeys(met, 1.0)
    for _ in range(STEPS_MAX):  # minorization and maximization (Hunter, 2004): each step is at least as likely as the one before
        after = {
            model: won[model] / sum(duels / (strength[model] + strength[other]) for other, duels in others.items())
            for model, others in met.items()
        }
        middle = math.exp(sum(map(math.log, after.values())) / len(after))
        after = {model: value / middle for model, value in after.items()}
        moved = max(abs(math.log(after[model] / strength[model])) for model in after)
        strength = after
        if moved < CLOSE_ENOUGH:
            break
    return {model: MEAN + SCALE * math.log(value) for model, value in strength.items()}
