"""The headers that tell a browser what it may do with a response: on every response, whoever asks and whatever comes back."""

import re
import subprocess
from pathlib import Path

import anyio.to_thread
import httpx
import msgspec
import pytest
from swagger_ui_bundle import swagger_ui_path

from api.formats import html
from api.process import front_page
from api.process.docs_page import START_SHA256
from api.settings import Settings
from tests.api.conftest import WAIT_S, Running, running
from tests.package.debian import program

pytestmark = pytest.mark.anyio

NOTHING = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"


def require_headers(answer: httpx.Response, *, policy: str = NOTHING, cache: str = "no-store") -> None:
    headers = answer.headers
    assert headers.get_list("content-security-policy") == [policy], answer.url
    assert headers.get_list("cache-control") == [cache], answer.url
    assert headers.get_list("x-content-type-options") == ["nosniff"], answer.url
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert "frame-ancestors 'none'" in headers["content-security-policy"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/health", 200),
        ("GET", "/ready", 200),
        ("GET", "/metrics", 200),
        ("GET", "/nowhere", 404),
        ("GET", "/docs/assets/../../etc/passwd", 404),
        ("DELETE", "/health", 405),
        ("GET", "/api/v1/chats/", 401),
        ("POST", "/api/v1/auths/signin", 400),
        ("GET", "/docs/openapi.json", 200),
        ("GET", "/v1/models", 401),
    ],
)
async def test_every_response_carries_them(server: Running, method: str, path: str, status: int) -> None:
    async with server.client() as http:
        answer = await http.request(method, path)
    assert answer.status_code == status, answer.text
    require_headers(answer)


async def test_the_first_page_may_have_its_own_style_and_nothing_else(server: Running) -> None:
    async with server.client() as http:
        require_headers(await http.get("/"), policy=front_page.POLICY)


async def test_what_belongs_to_somebody_is_not_kept(server: Running) -> None:
    user = await server.sign_up()
    chat_id = await user.new_chat()
    for path in ("/api/v1/chats/", f"/api/v1/chats/{chat_id}", "/api/v1/auths/", f"/api/v1/streams/chat/{chat_id}/events"):
        require_headers(await user.get(path))
    stream = await user.http.send(
        user.http.build_request("GET", f"/api/v1/streams/chat/{chat_id}/events", params={"live": "sse"}), stream=True
    )
    require_headers(stream, cache=stream.headers["cache-control"])
    assert "no-store" in stream.headers["cache-control"]
    await stream.aclose()


async def test_an_export_as_a_page_may_do_nothing(server: Running) -> None:
    user = await server.sign_up()
    chat_id = await user.new_chat()
    answer = await user.get(f"/api/v1/chats/{chat_id}/export", format="html")
    require_headers(answer, policy=f"{html.POLICY}; frame-ancestors 'none'; sandbox")
    assert answer.headers["content-disposition"].startswith("attachment")


async def test_transport_security_is_promised_over_tls_only(settings: Settings) -> None:
    trusting = msgspec.structs.replace(settings, trusted_proxies=("127.0.0.1",))
    async with running(trusting) as server, server.client() as http:
        assert "strict-transport-security" not in (await http.get("/health")).headers
        behind_tls = await http.get("/health", headers={"x-forwarded-proto": "https"})
        assert behind_tls.headers["strict-transport-security"] == "max-age=31536000"


async def test_the_docs_load_from_this_server_only_and_run_their_own_scripts_only(server: Running) -> None:
    async with server.client() as http:
        page = await http.get("/docs")
        assert f"'sha256-{START_SHA256}'" in page.headers["content-security-policy"]
        require_headers(page, policy=page.headers["content-security-policy"])
        assert "unsafe-eval" not in page.headers["content-security-policy"]
        loaded = re.findall(r'(?:src|href)="([^"]+)"', page.text)
        assert len(loaded) == 4 and all(address.startswith("/docs/assets/") for address in loaded)
        for address in loaded:
            asset = await http.get(address)
            assert asset.status_code == 200
            require_headers(asset, cache="max-age=3600, public")


def test_swagger_ui_is_of_a_version_that_is_cared_for() -> None:
    found = re.search(r"swagger-ui-(\d+)\.(\d+)\.", str(swagger_ui_path))
    assert found is not None and (int(found[1]), int(found[2])) >= (5, 31)


def rendered(url: str, folder: Path) -> str:
    browser = program("chromium", "chromium")
    done = subprocess.run(
        [
            *(browser, "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--v=0"),
            *(f"--user-data-dir={folder}", "--virtual-time-budget=20000", "--dump-dom", url),
        ],
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=True,
    )
    assert "Content Security Policy" not in done.stderr, done.stderr
    return done.stdout


async def test_a_browser_shows_the_docs_under_their_policy(server: Running, tmp_path: Path) -> None:
    page = await anyio.to_thread.run_sync(rendered, f"{server.url}/docs", tmp_path)
    assert "/api/v1/chats/new" in page and "opblock" in page


async def test_a_browser_shows_an_exported_page_and_runs_nothing_in_it(server: Running, tmp_path: Path) -> None:
    user = await server.sign_up()
    chat_id = await user.new_chat("<script>document.title='ran'</script>")
    await user.add(chat_id, "**bold** <img src=x onerror=\"document.title='ran'\"> [x](javascript:document.title='ran')")
    file = tmp_path / "export.html"
    file.write_bytes((await user.get(f"/api/v1/chats/{chat_id}/export", format="html")).content)
    page = await anyio.to_thread.run_sync(rendered, file.as_uri(), tmp_path / "profile")
    assert "<strong>bold</strong>" in page
    assert "<title>ran</title>" not in page and "<img" not in page
