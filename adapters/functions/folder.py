"""The server's folder of functions: each ``.py`` file is one, under its name. What is new or changed there goes into the log, once.

The folder is looked at every few seconds. A signal would have to reach every process, and files often come by a copy that takes a while:
a file is read once it has stayed the same between two looks, at the start at once.
"""

import asyncio
import contextlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
import structlog

from adapters.functions.frontmatter import frontmatter
from commands.functions.function_library import FunctionLibrary
from domain.errors import FunctionExists, FunctionNotFound, LogUnavailable, StenographError
from domain.routing.function import FUNCTION_ID, NAME_CHARACTERS_MAX, SOURCE_BYTES_MAX

logger = structlog.get_logger("functions")

POLL_S: Final = 2.0
AT_ONCE: Final = 8  # files that are put in side by side


class Look(NamedTuple):
    """What tells a file from what it was."""

    changed_ns: int
    size_bytes: int
    inode: int


class FileProblem(msgspec.Struct, frozen=True):
    """Why a file is no function. ``code`` as in ``domain/errors/``."""

    file: str
    code: str
    detail: str
    reason: str | None = None  # of ``function_not_loaded``
    line: int | None = None


class FunctionFolder:
    def __init__(self, folder: Path, library: FunctionLibrary, *, poll_s: float = POLL_S) -> None:
        self._folder = folder
        self._library = library
        self._poll_s = poll_s
        self._done: dict[Path, Look] = {}  # as they were when they were put in, or refused
        self._last: Mapping[Path, Look] = {}  # as of the last look
        self._problems: dict[Path, FileProblem] = {}
        self._task: asyncio.Task[None] | None = None

    @property
    def problems(self) -> list[FileProblem]:
        return [self._problems[path] for path in sorted(self._problems)]

    async def start(self) -> None:
        """Read the folder once, then go on looking at it."""
        await self._read_or_wait(at_once=True)
        self._task = asyncio.create_task(self._watch(), name="folder of functions")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def read(self, *, at_once: bool = False) -> None:
        """Put in what is new or changed, and take out what has gone. A folder that cannot be read changes nothing."""
        try:
            found = await asyncio.to_thread(look_at, self._folder)
        except OSError as error:
            logger.error("folder_of_functions_not_read", folder=str(self._folder), error=error.strerror)
            return
        settled = {path: look for path, look in found.items() if at_once or self._last.get(path) == look}
        self._last = found
        wanted = [path for path, look in sorted(settled.items()) if self._done.get(path) != look]
        by_id: dict[str, Path] = {}
        for path in sorted(found):
            by_id.setdefault(id_of(path), path)
        limit = asyncio.Semaphore(AT_ONCE)

        async def put_in(path: Path) -> None:
            async with limit:
                await self._put_in(path, by_id[id_of(path)])
                self._done[path] = settled[path]

        await asyncio.gather(*(put_in(path) for path in wanted))
        await self._take_out(set(by_id))
        for gone in self._done.keys() - found.keys():
            del self._done[gone]
            self._problems.pop(gone, None)

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._poll_s)
            await self._read_or_wait()

    async def _read_or_wait(self, *, at_once: bool = False) -> None:
        """What could not be put in now is tried again at the next look."""
        try:
            await self.read(at_once=at_once)
        except StenographError as error:
            logger.warning("folder_of_functions_waits", code=error.code, error=str(error))

    async def _put_in(self, path: Path, first: Path) -> None:
        function_id = id_of(path)
        try:
            if not FUNCTION_ID.fullmatch(function_id):
                raise FileRefused("bad_request", f"expected a file named like an identifier of Python, found {path.name!r}")
            if path != first:
                raise FileRefused("function_exists", f"{first.name} has the same id, {function_id}")
            source = await asyncio.to_thread(read_source, path)
            await self._synchronise(function_id, source)
        except FileRefused as refused:
            self._note(path, FileProblem(path.name, refused.code, str(refused)))
        except LogUnavailable:
            raise
        except StenographError as error:
            problem = FileProblem(path.name, error.code, str(error), getattr(error, "reason", None), getattr(error, "line", None))
            self._note(path, problem)
        else:
            self._problems.pop(path, None)

    async def _synchronise(self, function_id: str, source: str) -> None:
        manifest = frontmatter(source)
        name = manifest.get("title", function_id)[:NAME_CHARACTERS_MAX] or function_id
        meta = {"description": manifest.get("description", "")}
        try:
            _, known = await self._library.find(function_id)
        except FunctionNotFound:
            try:
                await self._library.create(None, function_id, name, source, meta, origin="folder", active=True, everywhere=True)
                return
            except FunctionExists:  # another process has just put in the same file
                _, known = await self._library.find(function_id)
        if known.origin != "folder":
            raise FunctionExists(function_id)
        await self._library.update(None, function_id, name, source, meta, origin="folder")

    async def _take_out(self, present: set[str]) -> None:
        gone = [state.function_id for _, state in self._library.states() if state.origin == "folder" and state.function_id not in present]
        for function_id in gone:
            logger.info("function_file_gone", function=function_id)
            with contextlib.suppress(FunctionNotFound):  # another process was first
                await self._library.delete(None, function_id)

    def _note(self, path: Path, problem: FileProblem) -> None:
        if self._problems.get(path) != problem:
            logger.error("function_file_refused", file=problem.file, code=problem.code, reason=problem.reason, detail=problem.detail)
        self._problems[path] = problem


class FileRefused(Exception):
    def __init__(self, code: str, detail: str) -> None:
        self.code = code
        super().__init__(detail)


def id_of(path: Path) -> str:
    """The function's id: the file's name in lower case, with underscores for what an identifier cannot have."""
    return re.sub(r"[\s.-]", "_", path.stem.lower())


def look_at(folder: Path) -> dict[Path, Look]:
    found: dict[Path, Look] = {}
    for path in folder.iterdir():
        if path.suffix == ".py" and not path.name.startswith((".", "__")) and path.is_file():
            stat = path.stat()
            found[path] = Look(stat.st_mtime_ns, stat.st_size, stat.st_ino)
    return found


def read_source(path: Path) -> str:
    """Raises ``FileRefused``."""
    try:
        if path.stat().st_size > SOURCE_BYTES_MAX:
            raise FileRefused("too_large", f"expected at most {SOURCE_BYTES_MAX} bytes")
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise FileRefused("content_refused", "expected text in UTF-8") from None
    except OSError as error:
        raise FileRefused("bad_request", f"it cannot be read: {error.strerror}") from None
