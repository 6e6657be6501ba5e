"""The unit file of the how-to guide, as systemd reads it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from api.process.serve import ENDS_WITHIN_S
from api.settings import Settings
from tests.package.debian import program

UNIT = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "stenograph.service"
STENO = "/opt/stenograph/bin/steno"


def verified(folder: Path, text: str) -> str:
    """What ``systemd-analyze verify`` finds wrong, "" for nothing."""
    assert STENO in text
    unit = folder / "stenograph.service"
    unit.write_text(text.replace(STENO, str(Path(sys.executable).with_name("steno"))), encoding="utf-8")
    command = [program("systemd-analyze", "systemd"), "verify", "--man=no", "--recursive-errors=no", str(unit)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    found = done.stdout + done.stderr
    assert (done.returncode == 0) or found
    return found


def test_systemd_takes_the_unit_file(tmp_path: Path) -> None:
    assert verified(tmp_path, UNIT.read_text(encoding="utf-8")) == ""


@pytest.mark.parametrize(("line", "wrong"), [("Restart=always", "Restart=perhaps"), ("Restart=always", "Restarts=always")])
def test_a_mistake_would_be_found(tmp_path: Path, line: str, wrong: str) -> None:
    assert verified(tmp_path, UNIT.read_text(encoding="utf-8").replace(line, wrong)) != ""


def test_systemd_waits_for_as_long_as_the_server_takes_to_end() -> None:
    (seconds,) = re.findall(r"^TimeoutStopSec=(\d+)$", UNIT.read_text(encoding="utf-8"), re.MULTILINE)
    assert int(seconds) >= Settings().drain_s + ENDS_WITHIN_S
