"""What a server process leaves unloaded until something needs it."""

import json
import subprocess
import sys

LATER = ("rich.console", "rich.traceback", "pygments", "markdown_it")


def loaded(program: str) -> list[str]:
    """Which of ``LATER`` a new process has loaded after the program."""
    script = f"{program}\nimport json, sys; print(json.dumps([name for name in {LATER} if name in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=True)
    names: list[str] = json.loads(done.stdout)
    return names


def test_a_server_loads_nothing_for_terminals_and_transcripts() -> None:
    assert loaded("import api.cli.main, api.process.serve") == []


def test_what_was_left_out_is_loaded_where_it_is_needed() -> None:
    program = "import api.cli.main, rich.console, rich.traceback; from api.formats.html import renderer; renderer()"
    assert loaded(program) == list(LATER)
