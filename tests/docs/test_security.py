"""SECURITY.md names a test for each promise: the test is there. What it says of versions is so."""

import ast
import re
import subprocess
from pathlib import Path

import pytest
from swagger_ui_bundle import swagger_ui_path

from adapters.embedded.host import binaries_for
from api.request.security_log import ACTS
from tests.docs.pages import ROOT

PAGE = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)))
CVES = ROOT / "tests" / "api" / "security" / "test_open_webui_cves.py"


def functions_of(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_the_page_names_tests() -> None:
    assert len(NAMED) > 30


@pytest.mark.parametrize(("path", "name"), NAMED)
def test_each_named_test_is_there(path: str, name: str) -> None:
    assert name in functions_of(ROOT / path)


def test_each_item_has_a_test_or_a_reason() -> None:
    rows = [line for line in PAGE.splitlines() if re.match(r"\| \d+\.\d+\.\d+", line)]
    assert len(rows) > 40
    assert [row for row in rows if "tests/" not in row and "no, because" not in row and "TO FILL" not in row and "[below]" not in row] == []


def test_each_vulnerability_that_is_said_to_be_tested_is_named_by_a_test() -> None:
    text = CVES.read_text(encoding="utf-8").replace("CVE-", "").replace("_", "-")
    rows = [line for line in PAGE.splitlines() if re.match(r"\| 20\d\d-\d+", line)]
    said = [number for row in rows if "| tested" in row for number in re.findall(r"20\d\d-\d+", row.split("|")[1])]
    assert len(said) > 35
    assert [one for one in said if one not in text and one.partition("-")[2] not in text] == []


def test_each_event_of_the_security_log_is_listed() -> None:
    listed = PAGE.partition("### Events of the security log")[2].partition("\n## ")[0]
    assert [event for event in {*ACTS.values(), "refused", "read_by_role", "records_left_out"} if f"`{event}`" not in listed] == []


def test_the_versions_are_those_that_are_installed(tmp_path: Path) -> None:
    said = subprocess.run([binaries_for(tmp_path, None) / "postgres", "--version"], capture_output=True, text=True, check=True).stdout
    assert f"embedded PostgreSQL {said.split()[-1]} " in PAGE
    found = re.search(r"swagger-ui-(\d+\.\d+)\.", str(swagger_ui_path))
    assert found is not None and f"Swagger UI {found[1]} " in PAGE
