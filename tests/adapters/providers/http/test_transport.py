"""Our httpx transport against servers that behave well, and worse."""

import asyncio
import shutil
import ssl
import subprocess
from pathlib import Path

import httpx
import pytest

from adapters.providers.http.client import provider_client
from adapters.providers.http.transport import HEAD_BYTES_MAX, StreamTransport
from tests.adapters.providers.scripted import LAST, Peer, chunk, serving, whole

pytestmark = pytest.mark.anyio
OK = whole(b"ok")


async def test_a_connection_is_used_again_after_a_whole_answer() -> None:
    async def script(peer: Peer) -> None:
        while True:
            await peer.asked()
            await peer.send(OK)

    async with serving(script) as server, provider_client() as client:
        for _ in range(3):
            assert (await client.get(server.url)).text == "ok"
    assert server.connections == 1


async def test_a_kept_connection_that_the_server_closed_is_replaced() -> None:
    async def script(peer: Peer) -> None:
        await peer.asked()
        await peer.send(OK)  # and closes, without having said so

    async with serving(script) as server, provider_client() as client:
        for _ in range(3):
            assert (await client.get(server.url)).text == "ok"


async def test_a_kept_connection_that_is_closed_when_it_is_asked_again_is_replaced_once() -> None:
    async def script(peer: Peer) -> None:
        await peer.asked()
        await peer.send(OK)
        await peer.asked()

    async with serving(script) as server, provider_client() as client:
        assert (await client.get(server.url)).text == "ok"
        assert (await client.get(server.url)).text == "ok"
        assert (await client.get(server.url)).text == "ok"
    assert server.connections == 3


async def test_a_request_is_not_repeated_once_any_of_its_answer_came() -> None:
    async def script(peer: Peer) -> None:
        await peer.asked()
        await peer.send(OK)
        await peer.asked()
        await peer.send(b"HTTP/1.1 2")

    async with serving(script) as server, provider_client() as client:
        await client.get(server.url)
        with pytest.raises(httpx.ReadError):
            await client.get(server.url)
    assert server.connections == 1


@pytest.mark.parametrize(
    "answer",
    [
        OK + b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil",
        whole(b"ok").replace(b"200 OK\r\n", b"200 OK\r\nconnection: close\r\n"),
    ],
)
async def test_a_connection_that_said_more_than_its_answer_or_goodbye_is_not_kept(answer: bytes) -> None:
    async def script(peer: Peer) -> None:
        await peer.asked()
        await peer.send(answer)
        await peer.left()

    async with serving(script) as server, provider_client() as client:
        for _ in range(2):
            assert (await client.get(server.url)).text == "ok"
    assert server.connections == 2


async def test_informational_answers_are_passed_over() -> None:
    async def script(peer: Peer) -> None:
        await peer.asked()
        await peer.send(b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + OK)

    async with serving(script) as server, provider_client() as client:
        answer = await client.post(server.url, content=b"x")
    assert (answer.status_code, answer.text, "link" in answer.headers) == (200, "ok", False)


async def test_an_answer_without_body_is_whole() -> None:
    async def script(peer: Peer) -> None:
        while True:
            await peer.asked()
            await peer.send(b"HTTP/1.1 204 No Content\r\n\r\n")

    async with serving(script) as server, provider_client() as client:
        assert (await client.get(server.url)).status_code == 204
        assert (await client.get(server.url)).status_code == 204
    assert server.connections == 1


@pytest.mark.parametrize("answer", [b"SSH-2.0-OpenSSH_9.6\r\n", b"HTTP/1.1 200 OK\r\nx: " + b"y" * (2 * HEAD_BYTES_MAX)])
async def test_what_is_no_http_fails_clearly(answer: bytes) -> None:
    async def script(peer: Peer) -> None:
        await peer.asked()
        await peer.send(answer)
        await peer.left()

    async with serving(script) as server, provider_client() as client:
        with pytest.raises(httpx.RemoteProtocolError):
            await client.get(server.url)


async def test_an_answer_shorter_than_its_length_fails() -> None:
    async def script(peer: Peer) -> None:
        await peer.asked()
        await peer.send(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nshort")

    async with serving(script) as server, provider_client() as client:
        with pytest.raises(httpx.ReadError):
            await client.get(server.url)


async def test_a_reader_that_does_not_read_stops_the_sender() -> None:
    stuck = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.asked()
        await peer.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        for _ in range(2_000):  # 128 MB, more than all the buffers between us
            peer.writer.write(chunk(b"x" * 64_000))
            try:
                await asyncio.wait_for(peer.writer.drain(), 0.5)
            except TimeoutError:
                break
        stuck.set()
        await peer.writer.drain()
        await peer.send(LAST)

    async with serving(script) as server, provider_client() as client, client.stream("GET", server.url) as answer:
        reads = answer.aiter_raw()
        received_bytes = len(await anext(reads))
        await asyncio.wait_for(stuck.wait(), 60)
        async for data in reads:
            received_bytes += len(data)
    assert 0 < received_bytes < 2_000 * 64_000
    assert received_bytes % 64_000 == 0


async def test_more_requests_than_connections_fail_at_once() -> None:
    async def script(peer: Peer) -> None:
        await peer.asked()
        await peer.send(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        await peer.left()

    async with serving(script) as server, httpx.AsyncClient(transport=StreamTransport(connections_max=1)) as client:
        async with client.stream("GET", server.url):
            with pytest.raises(httpx.PoolTimeout):
                await client.get(server.url)
        async with client.stream("GET", server.url) as answer:
            assert answer.status_code == 200


async def test_an_unused_connection_is_closed_after_a_while() -> None:
    async def script(peer: Peer) -> None:
        await peer.asked()
        await peer.send(OK)
        await peer.left()

    async with serving(script) as server, httpx.AsyncClient(transport=StreamTransport(kept_s=0.05)) as client:
        await client.get(server.url)
        await asyncio.wait_for(server.left.wait(), 60)


@pytest.fixture
def certified(tmp_path: Path) -> tuple[Path, Path]:
    """A key and a certificate for localhost that nobody has signed."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl to make a certificate")
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, timeout=120, check=True, capture_output=True)
    return key, certificate


async def test_tls_is_spoken_and_certificates_are_checked(certified: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    key, certificate = certified
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(certificate, key)

    async def script(peer: Peer) -> None:
        while True:
            await peer.asked()
            await peer.send(OK)

    async with serving(script, tls) as server:
        async with provider_client() as client:
            with pytest.raises(httpx.ConnectError):
                await client.get(server.url)
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        async with provider_client() as client:
            for _ in range(2):
                assert (await client.get(server.url)).text == "ok"
