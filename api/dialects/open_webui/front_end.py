"""The files of Open WebUI's page, byte for byte, from a folder that an operator has named. Without one, ``/`` is a small page of ours.

The page is one document for all of its addresses: what is no file is ``index.html``, except below the paths of the API.
"""

import asyncio
import gzip
import hashlib
import mimetypes
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from api.request.security_headers import HEADERS

INDEX: Final = "/index.html"
# Below these an address that is no route is no page either: a client that expects JSON gets the error as JSON.
NO_PAGES: Final = ("/api", "/v1", "/ws", "/docs", "/openai", "/ollama", "/health", "/ready", "/metrics")
NOT_SERVED: Final = (".map", ".py")  # source maps are a third of the folder, and nobody's page asks for them
COMPRESSED: Final = (
    "text/",
    "application/javascript",
    "application/json",
    "image/svg+xml",
    "application/wasm",
    "application/manifest+json",
)
COMPRESSED_BYTES_MIN: Final = 1024
KEPT_BYTES_MAX: Final = 64 * 1024 * 1024  # of files that are in memory, compressed
PIECE_BYTES: Final = 256 * 1024
FOR_EVER: Final = b"public, max-age=31536000, immutable"
ALWAYS_ASKED: Final = b"no-cache"
TYPES: Final[Mapping[str, str]] = {
    ".js": "text/javascript",
    ".mjs": "text/javascript",
    ".wasm": "application/wasm",
    ".webp": "image/webp",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".woff2": "font/woff2",
    ".md": "text/markdown",
}
# The page is somebody else's program: it runs its own inline scripts, workers and WebAssembly, and shows pictures from anywhere. It may
# not be framed, and forms of it go nowhere else. It asks its user's own providers, which often are at http://localhost.
POLICY: Final = (
    b"default-src 'self' data: blob: https: 'unsafe-inline' 'unsafe-eval'; connect-src 'self' data: blob: http: https:; "
    b"frame-ancestors 'none'; base-uri 'self'; form-action 'self'; object-src 'none'"
)

Scope = MutableMapping[str, Any]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class ServedFile(NamedTuple):
    path: Path
    media_type: str
    size: int
    etag: bytes

    @property
    def is_compressed(self) -> bool:
        return self.size >= COMPRESSED_BYTES_MIN and self.media_type.startswith(COMPRESSED)


class FrontEnd:
    """Serves the page, and ``app`` everything else. The folder is read once: a new version of it needs a restart."""

    def __init__(self, app: App, folder: Path) -> None:
        """Raises ``FileNotFoundError`` for a folder without a page."""
        self._app = app
        self._files = files_of(folder)
        if INDEX not in self._files:
            raise FileNotFoundError(f"{folder} holds no index.html: expected the folder 'frontend' of the package open-webui")
        self._compressed: dict[str, bytes] = {}
        self._kept_bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] not in ("GET", "HEAD") or is_below(scope["path"], NO_PAGES):
            await self._app(scope, receive, send)
            return
        path = scope["path"] if scope["path"] in self._files else INDEX
        if path == INDEX and scope["path"].endswith((".js", *NOT_SERVED)):
            await self._app(scope, receive, send)  # there is no such file: as for any other path that is no route
            return
        await self._answer(scope, send, path, self._files[path])

    async def _answer(self, scope: Scope, send: Send, path: str, found: ServedFile) -> None:
        asked = dict(scope["headers"])
        headers = [
            (
                b"content-type",
                f"{found.media_type}; charset=utf-8".encode() if found.media_type.startswith("text/") else found.media_type.encode(),
            ),
            (b"cache-control", FOR_EVER if path.startswith("/_app/immutable/") else ALWAYS_ASKED),
            (b"etag", found.etag),
            (b"vary", b"accept-encoding"),
            (b"content-security-policy", POLICY),
            (b"referrer-policy", b"same-origin"),
        ]
        known = {name for name, _ in headers}
        headers += [header for header in HEADERS.items() if header[0] not in known]
        if asked.get(b"if-none-match") == found.etag:
            await send({"type": "http.response.start", "status": 304, "headers": headers})
            await send({"type": "http.response.body", "body": b""})
            return
        compressed = None
        if found.is_compressed and b"gzip" in asked.get(b"accept-encoding", b""):
            compressed = await self._gzipped(path, found)
            headers.append((b"content-encoding", b"gzip"))
        size = found.size if compressed is None else len(compressed)
        await send({"type": "http.response.start", "status": 200, "headers": [*headers, (b"content-length", str(size).encode())]})
        if scope["method"] == "HEAD":
            await send({"type": "http.response.body", "body": b""})
        elif compressed is not None:
            await send({"type": "http.response.body", "body": compressed})
        else:
            await send_file(send, found.path)

    async def _gzipped(self, path: str, found: ServedFile) -> bytes:
        known = self._compressed.get(path)
        if known is None:
            known = await asyncio.to_thread(lambda: gzip.compress(found.path.read_bytes(), 6, mtime=0))
            if path not in self._compressed and self._kept_bytes + len(known) <= KEPT_BYTES_MAX:
                self._compressed[path] = known
                self._kept_bytes += len(known)
        return known


async def send_file(send: Send, path: Path) -> None:
    with await asyncio.to_thread(path.open, "rb") as file:
        while piece := await asyncio.to_thread(file.read, PIECE_BYTES):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


def files_of(folder: Path) -> dict[str, ServedFile]:
    """All files that are served, by their paths as a browser asks for them. Links that lead out of the folder are none of them."""
    root = folder.resolve()
    made: dict[str, ServedFile] = {}
    for path in root.rglob("*"):
        if path.suffix in NOT_SERVED or not path.is_file() or not path.resolve().is_relative_to(root):
            continue
        state = path.stat()
        media_type = TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        etag = hashlib.sha256(f"{path.relative_to(root)} {state.st_size} {state.st_mtime_ns}".encode()).hexdigest()[:32]
        made["/" + path.relative_to(root).as_posix()] = ServedFile(path, media_type, state.st_size, f'"{etag}"'.encode())
    return made


def is_below(path: str, prefixes: tuple[str, ...]) -> bool:
    return any(path == prefix or path.startswith(f"{prefix}/") for prefix in prefixes)
