"""The list of the servers that a user runs: how a folder's server is found, and what a crash leaves behind."""

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from api.running import RunningServer, noted, running_servers, server_of_data, server_of_folder, servers_folder


@pytest.fixture(autouse=True)
def a_home_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)


def test_a_server_is_on_the_list_while_it_runs(tmp_path: Path) -> None:
    assert running_servers() == []
    with noted("http://localhost:1", Path("data"), own_database=True):
        (server,) = running_servers()
        assert (server.url, server.data, server.folder) == ("http://localhost:1", str(tmp_path / "data"), str(tmp_path))
        assert server_of_data(tmp_path / "data") == server_of_folder() == server
        assert server_of_data(tmp_path / "other") is None
    assert running_servers() == list(servers_folder().iterdir()) == []


def test_of_several_in_one_folder_none_is_meant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with noted("http://localhost:1", Path("one"), own_database=True), noted("http://localhost:2", Path("two"), own_database=True):
        assert server_of_folder() is None
        assert server_of_data(Path("two")) is not None
        monkeypatch.chdir(tmp_path.parent)
        assert server_of_folder() is None


def test_what_a_crash_left_behind_is_recognised_and_deleted() -> None:
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True, timeout=120, check=True)
    for number, (pid, began) in enumerate([(int(gone.stdout), "1"), (os.getpid(), "another process had this number")]):
        path = servers_folder() / f"{number}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(msgspec.json.encode(RunningServer("http://localhost:1", "/data", str(Path.cwd()), pid, began, True)))
    (servers_folder() / "broken.json").write_text("{")
    assert running_servers() == []
    assert [one.name for one in servers_folder().iterdir()] == ["broken.json"], "nobody knows whose that is"


def test_a_process_that_is_forked_meanwhile_takes_nobody_off_the_list() -> None:
    with noted("http://localhost:1", Path("data"), own_database=True):
        script = "import os\nfrom pathlib import Path\nfrom api.running import noted, running_servers\n"
        script += "with noted('http://localhost:2', Path('forking'), own_database=True):\n"
        script += "    pid = os.fork()\n    if pid:\n        os.waitpid(pid, 0)\n        print(len(running_servers()))\n"
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=True, env=with_project())
        assert done.stdout == "2\n"
        assert len(running_servers()) == 1


def with_project() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}


def test_where_nothing_can_be_written_the_server_runs_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "config").write_text("no folder")
    with noted("http://localhost:1", Path("data"), own_database=True):
        assert running_servers() == []
