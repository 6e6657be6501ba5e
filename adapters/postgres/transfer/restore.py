"""A restore from a file into a database, beside whatever server uses it."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import IO, Final

from adapters.postgres.transfer.bulk_log import bulk_log
from commands.accounts.accounts import normal_email
from commands.transfer.restore import Restore, Restored
from domain.errors import UserNotFound

LINE_BYTES_MAX: Final = 512 * 1024 * 1024  # a longer one is no line: a file of something else must not fill the memory


def lines_of(file: IO[bytes]) -> Iterator[bytes]:
    while line := file.readline(LINE_BYTES_MAX):
        yield line


async def restore(dsn: str, file: IO[bytes], done: Restored, *, email: str | None, progressed: Callable[[], None]) -> None:
    """Restore every chat of ``file``. ``done`` is kept up to date, also where it ends early.

    ``email`` names who gets the chats whose owner has no account here. Raises ``UserNotFound`` where nobody has it, ``LogUnavailable``.
    """
    async with bulk_log(dsn) as bulk:
        owner_id = None
        if email is not None:
            holder = await bulk.log.find_claim("email", normal_email(email))
            if holder is None:
                raise UserNotFound(email)
            owner_id = holder.id
        restoring = Restore(
            bulk.log,
            bulk.blobs,
            bulk.nodes,
            now=datetime.now(UTC),
            owner_id=owner_id,
            done=done,
            progressed=progressed,
            bounds=bulk.bounds,
        )
        await restoring.run(lines_of(file))
