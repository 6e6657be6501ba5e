"""How the server logs: structured, for people or as one JSON object a line. No content of messages, no token, no key."""

import contextlib
import logging
import logging.handlers
import os
import sys
from pathlib import Path
from typing import Any, Literal, TextIO, cast

import structlog

from commands import security_log


class LossyFile:
    """Loses a line rather than raise: a full disk or a closed pipe below the log must not end what is logged about."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError):
            self._file.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            self._file.flush()


class SecurityFile(logging.handlers.WatchedFileHandler):
    """Appends, also after the file was moved away; only its owner may read it. Loses a record rather than fail what is recorded."""

    def _open(self) -> Any:
        return open(self.baseFilename, "a", encoding="ascii", opener=lambda name, flags: os.open(name, flags, 0o600))

    def handleError(self, record: logging.LogRecord) -> None:
        structlog.get_logger("security").error("security_log_not_written", file=self.baseFilename)


def write_security_log_to(path: Path | None) -> SecurityFile | None:
    """Records of the security log go to the end of this file from now on; with None, to where everything goes. Raises ``OSError``."""
    if path is None:
        security_log.write_lines_with(None)
        return None
    file = SecurityFile(path)
    security_log.write_lines_with(lambda line: file.emit(logging.makeLogRecord({"msg": line})))
    return file


def configure(level: str, form: Literal["console", "json"], security_file: Path | None = None) -> None:
    """Send everything, uvicorn's own lines too, to stderr in one form; records of the security log to a file of their own if one is given.

    Raises ``OSError`` if that file cannot be written.
    """
    write_security_log_to(security_file)
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    renderer: structlog.typing.Processor
    if form == "json":
        shared.append(structlog.processors.format_exc_info)
        renderer = structlog.processors.JSONRenderer()
    else:
        # Plain: the default one prints local variables beside each frame, and one of them may be somebody's password.
        plain = structlog.dev.plain_traceback
        renderer = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain)
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level.upper())),
        logger_factory=structlog.PrintLoggerFactory(cast(TextIO, LossyFile(sys.stderr))),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer], foreign_pre_chain=shared
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    for noisy in ("httpx", "httpcore", "websockets", "uvicorn.access", "uvicorn.error"):
        logging.getLogger(noisy).setLevel("WARNING")
    logging.getLogger("asyncpg.pool").setLevel("ERROR")  # logs a traceback for each lost connection; the caller logs one line
