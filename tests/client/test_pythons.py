"""The client's types hold on each Python that its distribution names. The tests themselves run on one of them."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "client" / "pyproject.toml").read_text(encoding="utf-8"))["project"]
VERSIONS = [found[1] for line in PROJECT["classifiers"] if (found := re.fullmatch(r"Programming Language :: Python :: (3\.\d+)", line))]
# Kept from run to run, since most of a first run reads the standard library's types. mypy has a folder for each version in it. Not the one
# of the whole project, which is checked with other files and would be checked anew each time.
CACHE = ROOT / ".mypy_cache" / "client"


def test_the_oldest_version_is_the_one_that_pip_is_told() -> None:
    assert PROJECT["requires-python"] == f">={VERSIONS[0]}"


@pytest.mark.slow
@pytest.mark.parametrize("version", VERSIONS)
def test_the_types_hold(version: str) -> None:
    command = [sys.executable, "-m", "mypy", "--python-version", version, "--cache-dir", str(CACHE), "--package", "stenograph_client"]
    checked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=400, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
