"""Ratings of models by their duels."""

import pytest

from projections.figures.elo import ranked
from projections.figures.ports import DuelCount


def test_no_duel_ranks_nobody() -> None:
    assert ranked([]) == []


def test_who_wins_as_often_as_it_loses_is_as_good() -> None:
    one, other = ranked([DuelCount("a", "b", 50), DuelCount("b", "a", 50)])
    assert (one.rating, other.rating) == pytest.approx((1_000, 1_000))
    assert one.low < 1_000 < one.high


def test_odds_of_ten_to_one_are_400_points() -> None:
    one, other = ranked([DuelCount("a", "b", 10_000), DuelCount("b", "a", 1_000)])
    assert one.rating - other.rating == pytest.approx(400, abs=1)


def test_models_that_never_met_are_compared_by_those_that_both_met() -> None:
    ranks = ranked([DuelCount("a", "b", 300), DuelCount("b", "a", 100), DuelCount("b", "c", 300), DuelCount("c", "b", 100)])
    assert [one.model_id for one in ranks] == ["a", "b", "c"]
    assert ranks[0].rating - ranks[1].rating == pytest.approx(ranks[1].rating - ranks[2].rating, abs=1)


def test_who_has_won_everything_is_not_infinitely_strong() -> None:
    one, other = ranked([DuelCount("a", "b", 3)])
    assert other.rating < one.rating < 2_000
    assert (one.won, one.lost, other.won, other.lost) == (3, 0, 0, 3)


def test_more_duels_make_it_surer_and_the_same_ones_the_same() -> None:
    few, many = ([DuelCount("a", "b", 6 * n), DuelCount("b", "a", 4 * n)] for n in (1, 100))
    assert ranked(few) == ranked(few)
    (unsure, *_), (sure, *_) = ranked(few), ranked(many)
    assert sure.high - sure.low < (unsure.high - unsure.low) / 4


def test_the_interval_holds_its_rating_also_where_not_all_duels_are_drawn() -> None:
    one, *_ = ranked([DuelCount("a", "b", 60_000), DuelCount("b", "a", 40_000)], rounds=40)
    assert one.low <= one.rating <= one.high
    assert one.high - one.low < 10
