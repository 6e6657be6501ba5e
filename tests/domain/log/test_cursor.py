"""Where a reader goes on, and what a cursor that leads nowhere is told."""

from uuid import UUID

import pytest

from domain.errors import BadCursor, CursorGone
from domain.log.cursor import ResumePoint, resume_point

EPOCH, OTHER = UUID(int=1), UUID(int=2)


@pytest.mark.parametrize(("text", "after"), [("start", 0), ("now", 7), (f"{EPOCH}:0", 0), (f"{EPOCH}:7", 7)])
def test_a_cursor_of_this_log_goes_on_after_it(text: str, after: int) -> None:
    assert resume_point(text, EPOCH, 7) == ResumePoint(after, 7)


@pytest.mark.parametrize(
    ("text", "reason"), [(f"{EPOCH}:8", "is above the head"), (f"{OTHER}:3", "is of another epoch"), (f"{OTHER}:99", "is of another epoch")]
)
def test_one_that_leads_nowhere_is_told_why_and_where_the_log_is(text: str, reason: str) -> None:
    with pytest.raises(CursorGone, match=reason) as refused:
        resume_point(text, EPOCH, 7)
    assert (refused.value.epoch, refused.value.head) == (EPOCH, 7)
    assert f"{EPOCH}:7" in str(refused.value)


@pytest.mark.parametrize("text", ["", "7", f"{EPOCH}", f"{EPOCH}:", f"{EPOCH}:-1", f"{EPOCH}:x", f"x:{7}"])
def test_a_malformed_one_is_refused(text: str) -> None:
    with pytest.raises(BadCursor):
        resume_point(text, EPOCH, 7)
