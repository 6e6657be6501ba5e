"""How the parts of a process count."""

from commands.metrics import Histogram, counted


def test_a_value_on_a_bound_belongs_to_the_bucket_below_it() -> None:
    sizes = Histogram((1, 10))
    for value in (0, 1, 1.5, 10, 10.5):
        sizes.observe(value)
    assert sizes.counts == [2, 2, 1]
    assert sizes.sum == 23


def test_what_is_known_is_counted_from_the_start() -> None:
    assert counted("code", ("a", "b"), {"b": 2, "c": 1}).values == {"a": 0, "b": 2, "c": 1}
