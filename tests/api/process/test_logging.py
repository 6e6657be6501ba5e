"""What the server's log says of a failure, and what it must not."""

import subprocess
import sys

import pytest

PROGRAM = """
import structlog
from api.process.logging import configure

configure("info", {form!r})

def sign_in(password: str) -> None:
    raise RuntimeError("our own bug")

try:
    sign_in("correct" + " horse")
except RuntimeError as error:
    structlog.get_logger("api").error("request_failed", exc_info=error)
"""


@pytest.mark.parametrize("form", ["console", "json"])
def test_a_failure_is_told_without_the_values_that_were_at_hand(form: str) -> None:
    said = subprocess.run([sys.executable, "-c", PROGRAM.format(form=form)], capture_output=True, text=True, timeout=120, check=True).stderr
    assert "our own bug" in said
    assert "sign_in" in said
    assert "correct horse" not in said
