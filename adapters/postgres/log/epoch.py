"""Which history this is. Numbers of two epochs are not comparable, so a restored or failed-over log gets a new one.

A new epoch is minted when the database says that it is another system or on another timeline, or when its head is below what
this server last saw of the same epoch (a snapshot put back under the same server), or when the operator asks for one.
"""

import asyncio
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid4

import msgspec
import structlog

from adapters.postgres.connections.connection import connect
from adapters.postgres.connections.queries import text
from domain.errors import LogUnavailable

logger = structlog.get_logger("epoch")

NEWEST: Final = text("newest_epoch")
ADD: Final = text("add_epoch")
THIS_SERVER: Final = text("this_server")
LOCK: Final = text("epoch_lock")


class Epoch(msgspec.Struct, frozen=True):
    epoch: UUID
    head: int  # of the log, when this was read
    fsync: bool


class Known(msgspec.Struct, frozen=True):
    """What a server remembers of the log outside of it."""

    epoch: UUID
    head: int


async def current_epoch(dsn: str, known: Known | None = None, *, force_new: bool = False) -> Epoch:
    """The epoch of the log at ``dsn``, minted if it has none, or if it is not the history that it was."""
    connection = await connect(dsn, application="epoch", role="none")
    try:
        async with connection.transaction():
            await connection.execute(LOCK)
            server = await connection.fetchrow(THIS_SERVER)
            newest = await connection.fetchrow(NEWEST)
            assert server is not None
            reason = "asked for" if force_new else _why_new(newest, server, known)
            if reason is None:
                assert newest is not None
                return Epoch(newest["epoch"], server["head"], server["fsync"] == "on")
            epoch = uuid4()
            await connection.execute(ADD, epoch, server["system_identifier"], server["timeline"], server["head"])
        logger.info("new_epoch", epoch=str(epoch), reason=reason, head=server["head"])
        return Epoch(epoch, server["head"], server["fsync"] == "on")
    finally:
        await connection.close(timeout=2)


async def why_another(connection: Any, epoch: UUID, seen: Callable[[], int]) -> str | None:
    """Why this connection leads to another history than the one that this process follows; None if it does not.

    ``seen`` gives the newest position of it that was seen here.
    """
    known = Known(epoch, seen())  # before the log is asked: it can only have grown since
    server = await connection.fetchrow(THIS_SERVER)
    newest = await connection.fetchrow(NEWEST)
    assert server is not None
    if newest is not None and newest["epoch"] != epoch:
        return f"its epoch is {newest['epoch']} now"
    return _why_new(newest, server, known)


class EpochGuard:
    """Refuses new connections that lead to another history of the log than the one that this process follows.

    ``position`` returns the newest position that this process has seen. ``lost`` is set at the first refusal, and ``reason`` says why.
    """

    def __init__(self, epoch: UUID, position: Callable[[], int]) -> None:
        self._epoch = epoch
        self._position = position
        self.lost = asyncio.Event()
        self.reason = ""

    async def check(self, connection: Any) -> None:
        """Raises ``LogUnavailable`` if the database was replaced: its positions mean other events than those this process has seen."""
        reason = await why_another(connection, self._epoch, self._position)
        if reason is not None:
            self.reason = self.reason or reason
            self.lost.set()
            raise LogUnavailable(f"the database holds another history: {reason}")


def _why_new(newest: Mapping[str, Any] | None, server: Mapping[str, Any], known: Known | None) -> str | None:
    if newest is None:
        return "the first of this log"
    if newest["system_identifier"] != server["system_identifier"]:
        return "another database system"
    if newest["timeline"] != server["timeline"]:
        return "another timeline"
    if newest["since_position"] > server["head"]:
        return "the log is shorter than it was at its epoch"
    if known is not None and known.epoch == newest["epoch"] and known.head > server["head"]:
        return f"the log ends at {server['head']}, and was seen at {known.head}"
    return None


def remembered(file: Path) -> Known | None:
    """What ``remember`` wrote; None where there is nothing, or nothing that can be read."""
    try:
        return msgspec.json.decode(file.read_bytes(), type=Known)
    except (OSError, msgspec.MsgspecError):
        return None


async def remember(file: Path, known: Known) -> None:
    """Written whole or not at all: a torn file would look like a lost log."""
    await asyncio.to_thread(_write, file, msgspec.json.encode(known))


def _write(file: Path, content: bytes) -> None:
    half = file.with_suffix(f".{os.getpid()}.new")  # several processes of a server remember in one place
    half.write_bytes(content)
    half.replace(file)
