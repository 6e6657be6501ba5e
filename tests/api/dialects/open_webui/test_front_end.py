"""The files of a front end, as a browser gets them, and the installation of a real package's."""

import gzip
import zipfile
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.cli.login import Failed
from api.cli.operating.front_end import unpack
from api.dialects.open_webui.front_end import FrontEnd
from api.process.front_end_folder import FrontEndMissing, with_front_end
from api.settings import Settings

INDEX = "<!doctype html><title>The page</title>" + "x" * 2000
FILES = {
    "index.html": INDEX,
    "_app/version.json": "{}",
    "_app/immutable/a.js": "let a;" * 500,
    "_app/immutable/a.js.map": "{}",
    "static/favicon.png": "\x89PNG",
    "wasm/b.wasm": "\0asm",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        path = tmp_path / "frontend" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (tmp_path / "secret").write_text("no")
    (tmp_path / "frontend" / "link").symlink_to(tmp_path / "secret")
    return tmp_path / "frontend"


async def api(scope: Any, _receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 404, "headers": [(b"content-type", b"application/problem+json")]})
    await send({"type": "http.response.body", "body": b"{}"})


@pytest.fixture
def browser(folder: Path) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(FrontEnd(api, folder)), base_url="http://test")  # type: ignore[arg-type]


@pytest.mark.anyio
@pytest.mark.parametrize(
    "path", ["/", "/c/0190a000-0000-7000-8000-000000000000", "/auth", "/apiary", "/missing.png", "/link", "/../secret", "/%2e%2e/secret"]
)
async def test_what_is_no_file_is_the_page(browser: httpx.AsyncClient, path: str) -> None:
    answer = await browser.get(path)
    assert (answer.status_code, answer.text) == (200, INDEX)
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["cache-control"] == "no-cache"


@pytest.mark.anyio
@pytest.mark.parametrize(
    "path", ["/api", "/api/nope", "/v1/models", "/ws/socket.io/", "/docs", "/health", "/missing.js", "/_app/immutable/a.js.map"]
)
async def test_the_api_answers_for_itself(browser: httpx.AsyncClient, path: str) -> None:
    answer = await browser.get(path)
    assert (answer.status_code, answer.text) == (404, "{}")


@pytest.mark.anyio
async def test_other_methods_are_the_apis(browser: httpx.AsyncClient) -> None:
    assert (await browser.post("/")).status_code == 404


@pytest.mark.anyio
async def test_files_have_their_types_and_are_kept_as_long_as_they_may(browser: httpx.AsyncClient) -> None:
    for path, media_type, kept in (
        ("/_app/immutable/a.js", "text/javascript; charset=utf-8", "public, max-age=31536000, immutable"),
        ("/_app/version.json", "application/json", "no-cache"),
        ("/static/favicon.png", "image/png", "no-cache"),
        ("/wasm/b.wasm", "application/wasm", "no-cache"),
    ):
        answer = await browser.get(path)
        assert (answer.headers["content-type"], answer.headers["cache-control"]) == (media_type, kept)
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        again = await browser.get(path, headers={"if-none-match": answer.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")


@pytest.mark.anyio
async def test_long_texts_are_compressed_byte_for_byte(folder: Path) -> None:
    seen: list[Any] = []

    async def send(message: Any) -> None:
        seen.append(message)

    scope = {"type": "http", "method": "GET", "path": "/_app/immutable/a.js", "headers": [(b"accept-encoding", b"gzip, br")]}
    app = FrontEnd(api, folder)
    for _ in range(2):
        await app(dict(scope), None, send)  # type: ignore[arg-type]
    for start, body in (seen[:2], seen[2:]):
        assert (b"content-encoding", b"gzip") in start["headers"]
        assert gzip.decompress(body["body"]).decode() == FILES["_app/immutable/a.js"]
    await app({**scope, "method": "HEAD"}, None, send)  # type: ignore[arg-type]
    assert seen[-1]["body"] == b""


def wheel(path: Path, *names: str) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, "x")
    return path


def test_a_page_is_installed_with_its_licence_and_without_source_maps(tmp_path: Path) -> None:
    package = ["open_webui/frontend/index.html", "open_webui/frontend/_app/a.js", "open_webui/frontend/_app/a.js.map", "open_webui/main.py"]
    found = wheel(tmp_path / "open_webui-1-py3-none-any.whl", *package, "open_webui-1.dist-info/licenses/LICENSE")
    for _ in range(2):  # a second time it is replaced
        assert unpack(found, tmp_path / "data" / "front-end") == 2
    installed = tmp_path / "data" / "front-end"
    assert sorted(str(path.relative_to(installed)) for path in installed.rglob("*") if path.is_file()) == [
        "LICENSE",
        "frontend/_app/a.js",
        "frontend/index.html",
    ]
    assert with_front_end(Settings(data=tmp_path / "data")).front_end == installed / "frontend"
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["front-end"]


@pytest.mark.parametrize("names", [["open_webui/main.py"], ["open_webui/frontend/index.html", "open_webui/frontend/../../x"]])
def test_a_wheel_without_a_page_or_with_a_bad_path_leaves_what_was_there(tmp_path: Path, names: list[str]) -> None:
    (tmp_path / "front-end").mkdir()
    (tmp_path / "front-end" / "kept").write_text("")
    found = wheel(tmp_path / "open_webui-1-py3-none-any.whl", *names)
    with pytest.raises(Failed):
        unpack(found, tmp_path / "front-end")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["front-end", found.name]
    assert (tmp_path / "front-end" / "kept").exists()


def test_a_folder_without_a_page_is_named(tmp_path: Path) -> None:
    with pytest.raises(FrontEndMissing, match=str(tmp_path)):
        with_front_end(Settings(front_end=tmp_path))
    assert with_front_end(Settings(data=tmp_path)).front_end is None
