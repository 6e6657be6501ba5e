"""What is told to somebody who is not signed in, and what an error of a provider tells a person."""

import json
from urllib.parse import urlsplit

import msgspec
import pytest
from structlog.testing import capture_logs

from api.settings import Settings
from tests.adapters.providers.asking import closed_port
from tests.adapters.providers.scripted import Peer, serving, whole
from tests.api.conftest import Running, User, running

pytestmark = pytest.mark.anyio
KEY = "sk-proj-Abc123Def456"


async def answer_of(user: User, chat_id: str, **asked: str) -> dict[str, str]:
    """How an answer ended that the model failed to give."""
    await user.ask(chat_id, **asked)
    stream = f"/api/v1/streams/chat/{chat_id}/events"
    (ended,) = (await user.get(stream, live="long-poll", types="error")).json()["events"]
    return dict(ended["data"]["data"])


async def test_metrics_and_docs_are_open_unless_they_are_closed(server: Running) -> None:
    async with server.client() as stranger:
        assert [(await stranger.get(path)).status_code for path in ("/metrics", "/docs", "/docs/openapi.json")] == [200, 200, 200]


async def test_metrics_can_be_left_to_admins(settings: Settings) -> None:
    async with running(msgspec.structs.replace(settings, metrics_public=False)) as server:
        admin, user = await server.sign_up(), await server.sign_up("Bob")
        key = (await admin.post("/api/v1/auths/api_key")).json()["api_key"]
        async with server.client() as stranger:
            assert (await stranger.get("/metrics")).status_code == 401
            scraped = await stranger.get("/metrics", headers={"authorization": f"Bearer {key}"})
        assert "stenograph_log_head" in scraped.text
        assert (await user.get("/metrics")).json()["code"] == "forbidden"
        assert (await admin.get("/docs")).status_code == 200, "it is another setting"


async def test_docs_can_be_closed(settings: Settings) -> None:
    async with running(msgspec.structs.replace(settings, docs_public=False)) as server:
        admin = await server.sign_up()
        for path in ("/docs", "/docs/openapi.json", "/docs/assets/swagger-ui.css"):
            assert (await admin.get(path)).status_code == 404
        front = (await admin.get("/")).text
        assert "/docs" not in front
        assert "/ready" in front, "it leads to something that is there"
        assert "ready" in (await admin.get("/ready")).json()  # a machine that holds the server up for seconds makes it say no
        assert (await admin.get("/metrics")).status_code == 200


async def test_neither_a_person_nor_a_stranger_learns_where_a_provider_is(settings: Settings) -> None:
    address = closed_port()
    port = str(urlsplit(address).port)
    with capture_logs() as logs:
        async with running(msgspec.structs.replace(settings, openai_base_urls=(address,), openai_api_keys=(KEY,))) as server:
            user = await server.sign_up()
            assert (await user.get("/api/models")).status_code == 200
            async with server.client() as stranger:
                ready = await stranger.get("/ready")
            assert any("provider_unreachable" in entry.get("code", "") and port in entry["detail"] for entry in logs)
    warnings = ready.json()["warnings"]
    assert any(warning.startswith("openai 1: ") for warning in warnings)
    assert not [warning for warning in warnings if port in warning or "127.0.0.1" in warning]


async def test_an_error_of_a_provider_tells_what_happened_without_address_and_key(settings: Settings) -> None:
    async def script(peer: Peer) -> None:
        asked = await peer.asked()
        if asked.method == "GET":
            await peer.send(whole(json.dumps({"object": "list", "data": [{"id": "m"}]}).encode()))
            return
        said = {"message": f"upstream http://10.1.2.3:4000 refused the key sk-pr********f456 ({KEY[-8:]}): too few credits", "type": "auth"}
        await peer.send(whole(json.dumps({"error": said}).encode(), "401 Unauthorized"))

    with capture_logs() as logs:
        async with serving(script) as provider:
            asking = msgspec.structs.replace(settings, openai_base_urls=(provider.url,), openai_api_keys=(KEY,))
            async with running(asking) as server:
                user = await server.sign_up()
                chat_id = await user.new_chat()
                error = await answer_of(user, chat_id, model="m")
                seen = json.dumps([error, (await user.get(f"/api/v1/chats/{chat_id}")).json()])
    assert (error["code"], error["provider"]["status"]) == ("provider_status", 401)  # type: ignore[index]
    assert "too few credits" in error["detail"]
    for hidden in ("10.1.2.3", "4000", "f456", "Def456", "sk-pr", provider.url):
        assert hidden not in seen
    (logged,) = [entry for entry in logs if entry["event"] == "provider_failed"]
    assert "10.1.2.3:4000" in logged["detail"]
    assert KEY not in logged["detail"]
