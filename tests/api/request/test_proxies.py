"""What a proxy says of its clients, who is believed, and the names under which the server answers."""

from typing import Any

import httpx
import msgspec
import pytest
import websockets

from api.settings import Settings
from commands.accounts.attempts import GUESSES_OF_ONE_FROM_ONE_PLACE
from tests.api.conftest import Running, Serving

pytestmark = pytest.mark.anyio
SIGN_IN = "/api/v1/auths/signin"


def with_settings(settings: Settings, **changes: Any) -> Settings:
    return msgspec.structs.replace(settings, **changes)


async def guesses(server: Running, email: str, **headers: str) -> list[int]:
    """The statuses of guesses that each name another client."""
    async with server.client() as client:
        return [
            (
                await client.post(
                    SIGN_IN,
                    json={"email": email, "password": "incorrect horse"},
                    headers={"x-forwarded-for": f"192.0.2.{number}", **headers},
                )
            ).status_code
            for number in range(GUESSES_OF_ONE_FROM_ONE_PLACE + 1)
        ]


async def test_a_client_cannot_say_where_it_calls_from(server: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    user = await server.sign_up()
    assert (await guesses(server, user.email))[-1] == 429


async def test_uvicorns_own_variable_does_not_count(settings: Settings, serving: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "*")
    for proxies in ((), ("192.0.2.0/24",)):
        async with serving(with_settings(settings, trusted_proxies=proxies)) as server:
            user = await server.sign_up()
            assert (await guesses(server, user.email))[-1] == 429


async def test_people_behind_a_trusted_proxy_are_told_apart(settings: Settings, serving: Serving) -> None:
    async with serving(with_settings(settings, trusted_proxies=("127.0.0.0/8",))) as server:
        user = await server.sign_up()
        assert (await guesses(server, user.email))[-1] == 400
        forged = {"x-forwarded-for": "198.51.100.1, 203.0.113.9"}  # the client wrote the first, the proxy the last
        for _ in range(GUESSES_OF_ONE_FROM_ONE_PLACE):
            await user.post(SIGN_IN, {"email": user.email, "password": "incorrect horse"}, **forged)
            forged["x-forwarded-for"] = f"198.51.100.{_}, 203.0.113.9"
        answer = await user.post(SIGN_IN, {"email": user.email, "password": "correct horse"}, **forged)
        assert answer.status_code == 429
        entered = await user.post(SIGN_IN, {"email": user.email, "password": "correct horse"}, **{"x-forwarded-for": "203.0.113.10"})
        assert entered.status_code == 200
        shown = (await user.get("/api/v1/auths/sessions")).json()
        assert "203.0.113.10" in {one["address"] for one in shown}


@pytest.mark.parametrize(
    ("proxies", "headers", "secure"),
    [
        (("127.0.0.1",), {"x-forwarded-proto": "https"}, True),
        ((), {"x-forwarded-proto": "https"}, False),
        ((), {"origin": "https://chat.example.org"}, True),
        ((), {"origin": "http://localhost:8080"}, False),
        ((), {}, False),
    ],
)
async def test_the_cookie_is_secure_behind_a_proxy_that_ends_tls(
    settings: Settings, serving: Serving, proxies: tuple[str, ...], headers: dict[str, str], secure: bool
) -> None:
    async with serving(with_settings(settings, trusted_proxies=proxies)) as server:
        user = await server.sign_up()
        answer = await user.post(SIGN_IN, {"email": user.email, "password": "correct horse"}, **headers)
        assert ("secure" in answer.headers["set-cookie"].lower()) is secure
        assert ("secure" in (await user.post("/api/v1/auths/signout", **headers)).headers["set-cookie"].lower()) is secure


HOSTS = ("chat.example.org", "*.internal.example", "::1")


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("chat.example.org", 200),
        ("Chat.Example.ORG:8080", 200),
        ("chat.example.org.", 200),
        ("a.internal.example", 200),
        ("[::1]:8080", 200),
        ("internal.example", 421),
        ("evilinternal.example", 421),
        ("evil.example", 421),
        ("chat.example.org.evil.example", 421),
        ("127.0.0.1", 421),
        ("", 421),
        ("[", 421),
    ],
)
async def test_the_server_answers_under_its_names_alone(settings: Settings, serving: Serving, host: str, status: int) -> None:
    async with serving(with_settings(settings, allowed_hosts=HOSTS)) as server, server.client() as client:
        answer = await client.get("/docs/openapi.json", headers={"host": host})
        assert answer.status_code == status
        if status == 421:
            assert answer.json()["code"] == "host_not_allowed"
        for probe in ("/health", "/ready"):
            assert (await client.get(probe, headers={"host": host})).status_code == 200


async def test_a_socket_opens_under_its_names_alone(settings: Settings, serving: Serving) -> None:
    async with serving(with_settings(settings, allowed_hosts=("localhost",))) as server:
        port = httpx.URL(server.url).port
        with pytest.raises(websockets.InvalidStatus) as refused:
            await websockets.connect(f"ws://127.0.0.1:{port}/ws")
        assert refused.value.response.status_code == 421
        async with websockets.connect(f"ws://localhost:{port}/ws"):
            pass


async def test_without_a_list_the_server_answers_under_every_name(server: Running) -> None:
    async with server.client() as client:
        assert (await client.get("/docs/openapi.json", headers={"host": "any.example"})).status_code == 200
