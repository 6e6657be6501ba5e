"""The locked versions are those that pyproject.toml allows, and the files say nothing about where they come from."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
BUILD = [Requirement(text) for text in PYPROJECT["build-system"]["requires"]]
SERVE = [*BUILD, *(Requirement(text) for text in PYPROJECT["project"]["dependencies"])]
CLIENTS = [
    Requirement(line)
    for line in (ROOT / "requirements" / "clients.in").read_text(encoding="utf-8").splitlines()
    if not line.startswith("#")
]
EXTRAS = {name: [Requirement(text) for text in texts] for name, texts in PYPROJECT["project"]["optional-dependencies"].items()}
OWN = PYPROJECT["project"]["name"]  # one extra may ask for another
DEV = [*SERVE, *EXTRAS["functions"], *(one for one in EXTRAS["dev"] if one.name != OWN)]
PIN = re.compile(r"^([A-Za-z0-9._-]+)==(\S+)", re.MULTILINE)


def locked(name: str) -> dict[str, str]:
    return dict(PIN.findall((ROOT / "requirements" / name).read_text(encoding="utf-8")))


@pytest.mark.parametrize(("name", "wanted"), [("serve.txt", SERVE), ("dev.txt", DEV), ("clients.txt", CLIENTS)])
def test_what_the_project_needs_is_locked_at_a_version_that_it_allows(name: str, wanted: list[Requirement]) -> None:
    pins = locked(name)
    assert {str(one) for one in wanted if not one.specifier.contains(pins.get(canonicalize_name(one.name), "0"))} == set()


def test_the_extra_for_developers_brings_all_others() -> None:
    brought = {extra for one in EXTRAS["dev"] if one.name == OWN for extra in one.extras}
    assert brought == EXTRAS.keys() - {"dev"}


def test_what_serves_is_what_was_tested() -> None:
    assert locked("serve.txt").items() <= locked("dev.txt").items()


def test_the_locked_builder_is_the_project_s() -> None:
    lines = (ROOT / "requirements" / "build.in").read_text(encoding="utf-8").splitlines()
    assert [Requirement(line) for line in lines if not line.startswith("#")] == BUILD


@pytest.mark.parametrize("name", ["serve.txt", "dev.txt", "clients.txt"])
def test_each_version_has_hashes_and_no_address(name: str) -> None:
    text = (ROOT / "requirements" / name).read_text(encoding="utf-8")
    assert "://" not in text
    assert len(re.findall(r"==[^\n]*\\\n    --hash=sha256:[0-9a-f]{64}", text)) == len(PIN.findall(text))
