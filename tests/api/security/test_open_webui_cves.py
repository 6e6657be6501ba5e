"""Known vulnerabilities of Open WebUI, each tried on this server where it has the feature. SECURITY.md lists them all.

The numbers are those of cve.org. Some were rejected there later; what they describe is tried all the same, since that costs nothing.
"""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import msgspec
import pytest

from api.settings import Settings
from tests.adapters.providers.openai.test_openai_answer import read
from tests.adapters.providers.scripted import DONE, Peer, said, serving, whole
from tests.api.conftest import Running, User, running

pytestmark = pytest.mark.anyio
SCRIPT = "<script>alert(1)</script>"
SVG = "data:image/svg+xml;base64,PHN2ZyBvbmxvYWQ9ImFsZXJ0KDEpIi8+"


async def two(server: Running) -> tuple[User, User]:
    """Neither is an admin, who may read everything."""
    await server.sign_up("Admin")
    return await server.sign_up("Ada"), await server.sign_up("Eve")


def refused(answer: httpx.Response) -> bool:
    return answer.status_code in (400, 401, 403, 404)


# ----------------------------------------------------------------------------------- whose is it


@pytest.mark.parametrize("prefix", ["", "channel:", "local:"])
async def test_cve_2026_45349_and_59714_nobody_continues_a_chat_of_another(server: Running, prefix: str) -> None:
    ada, eve = await two(server)
    chat_id = await ada.new_chat()
    message = await ada.add(chat_id, "for Ada alone")
    before = (await ada.get(f"/api/v1/chats/{chat_id}")).json()["version"]
    for body in (
        {"chat_id": prefix + chat_id, "session_id": "x"},
        {"chat_id": prefix + chat_id, "id": message["message_id"], "session_id": "x"},
        {"chat_id": prefix + chat_id, "message_ids": {"demo": message["message_id"]}, "session_id": "x"},
    ):
        answer = await eve.post("/api/chat/completions", {"model": "demo:3", "messages": [{"role": "user", "content": "hi"}], **body})
        assert "for Ada alone" not in answer.text
    assert (await ada.get(f"/api/v1/chats/{chat_id}")).json()["version"] == before


async def test_cve_2025_63681_and_2026_45399_nobody_lists_or_stops_an_answer_of_another(server: Running) -> None:
    ada, eve = await two(server)
    chat_id = await ada.new_chat()
    task = (await ada.ask(chat_id, "demo:2000"))["task_id"]
    assert task not in (await eve.get("/api/tasks")).text
    assert refused(await eve.post(f"/api/tasks/stop/{task}"))
    assert refused(await eve.post(f"/api/tasks/chat/{chat_id}/stop"))
    assert task in (await ada.get("/api/tasks")).text
    await ada.post(f"/api/tasks/stop/{task}")


async def test_cve_2026_70483_deleting_a_chat_of_another_stops_nothing(server: Running) -> None:
    ada, eve = await two(server)
    chat_id = await ada.new_chat()
    task = (await ada.ask(chat_id, "demo:2000"))["task_id"]
    assert refused(await eve.http.delete(f"/api/v1/chats/{chat_id}"))
    assert task in (await ada.get("/api/tasks")).text
    await ada.post(f"/api/tasks/stop/{task}")


async def test_cve_2026_44569_who_may_read_a_chat_edits_and_deletes_nothing(server: Running) -> None:
    ada, eve = await two(server)
    chat_id = await ada.new_chat()
    message = (await ada.add(chat_id, "mine"))["message_id"]
    await ada.post(f"/api/v1/chats/{chat_id}/access", {"user_id": eve.id, "permission": "read"})
    assert (await eve.get(f"/api/v1/chats/{chat_id}")).status_code == 200
    path = f"/api/v1/chats/{chat_id}/messages/{message}"
    assert refused(await eve.post(path, {"content": "hers"}))
    assert refused(await eve.http.delete(path))
    assert refused(await eve.post(f"/api/v1/chats/{chat_id}", {"chat": {"title": "hers"}}))
    assert (await ada.get(f"/api/v1/chats/{chat_id}")).json()["chat"]["messages"][0]["content"] == "mine"


async def test_cve_2026_109284_a_fork_is_its_makers_and_stands_in_no_folder_of_another(server: Running) -> None:
    ada, eve = await two(server)
    folder = (await ada.post("/api/v1/folders/", {"name": "Plans"})).json()["id"]
    chat_id = await ada.new_chat()
    message = (await ada.add(chat_id, "one"))["message_id"]
    await ada.post(f"/api/v1/chats/{chat_id}/folder", {"folder_id": folder})
    await ada.post(f"/api/v1/chats/{chat_id}/access", {"user_id": eve.id, "permission": "read"})
    fork = await eve.post(f"/api/v1/chats/{chat_id}/fork", {"message_id": message})
    assert fork.status_code == 200
    made = (await eve.get(f"/api/v1/chats/{fork.json()['id']}")).json()
    assert (made["folder_id"], made["user_id"]) == (None, eve.id)
    assert fork.json()["id"] not in (await ada.get(f"/api/v1/chats/folder/{folder}")).text


async def test_cve_2026_44550_and_45396_an_owner_named_in_a_body_counts_for_nothing(server: Running) -> None:
    ada, eve = await two(server)
    forged = {"user_id": ada.id, "owner_id": ada.id, "actor": {"id": ada.id}}
    await eve.post("/api/v1/folders/", {"name": "Hers", **forged})
    assert "Hers" not in (await ada.get("/api/v1/folders/")).text
    made = await eve.post("/api/v1/chats/new", {"chat": {"title": "Hers", **forged}, **forged})
    if made.status_code == 200:
        assert made.json()["user_id"] == eve.id
        await eve.post(f"/api/v1/chats/{made.json()['id']}/messages", {"role": "user", "content": "x", **forged})
    row = {"chat": {"title": "Hers", "history": {"messages": {}, "currentId": None}, **forged}, **forged}
    await eve.post("/api/v1/chats/import", {"chats": [row]})
    assert (await ada.get("/api/v1/chats/")).json() == []
    assert "Hers" not in (await ada.get(f"/api/v1/streams/user/{ada.id}/events")).text


async def test_cve_2026_59216_a_session_id_of_another_reaches_no_socket_of_theirs(server: Running) -> None:
    ada, eve = await two(server)
    wire = await server.connect(ada)
    session = wire.frames[-1]["session_id"]
    chat_id = await eve.new_chat()
    body = {"model": "demo:3", "chat_id": chat_id, "session_id": session, "messages": [{"role": "user", "content": "hi"}]}
    assert (await eve.post("/api/chat/completions", body)).status_code == 200
    eves = await server.connect(eve)
    await eves.say(op="answer", id=1, request_id=session, result="x")
    await eves.op("error")
    await ada.new_chat("A sign that nothing came before")
    await wire.say(op="subscribe", id=9, stream=f"chat/{chat_id}", after="start")
    await wire.op("error", id=9)
    assert chat_id not in json.dumps([frame for frame in wire.frames if frame.get("op") == "events"])


# ------------------------------------------------------------------------------- for how long


async def test_cve_2026_44553_a_demoted_admin_loses_what_their_socket_followed(server: Running) -> None:
    admin, ada = await server.sign_up(), await server.sign_up("Ada")
    second = await server.sign_up("Second")
    await admin.post(f"/api/v1/users/{second.id}/update", {"role": "admin"})
    chat_id = await ada.new_chat()
    wire = await server.connect(second)
    await wire.say(op="subscribe", id=1, stream=f"chat/{chat_id}", after="start")
    await wire.op("subscribed", id=1)
    await admin.post(f"/api/v1/users/{second.id}/update", {"role": "user"})
    await ada.add(chat_id, "after the demotion")
    assert await wire.closed() == 4401
    assert "after the demotion" not in json.dumps(wire.frames)
    assert refused(await second.get(f"/api/v1/chats/{chat_id}"))


async def test_cve_2026_109289_a_deactivated_account_loses_its_open_socket(server: Running) -> None:
    admin, ada = await server.sign_up(), await server.sign_up("Ada")
    chat_id = await ada.new_chat()
    wire = await server.connect(ada)
    await wire.say(op="subscribe", id=1, stream=f"chat/{chat_id}", after="start")
    await wire.op("subscribed", id=1)
    assert (await admin.http.delete(f"/api/v1/users/{ada.id}")).status_code == 200
    assert await wire.closed() == 4401


async def test_cve_2026_44567_and_70490_an_account_that_waits_for_approval_uses_neither_routes_nor_sockets(server: Running) -> None:
    admin = await server.sign_up()
    made = await admin.post(
        "/api/v1/auths/add", {"name": "Eve", "email": "eve@example.org", "password": "correct horse", "role": "pending"}
    )
    assert made.status_code == 200
    async with server.client() as http:
        token = (await http.post("/api/v1/auths/signin", json={"email": "eve@example.org", "password": "correct horse"})).json()["token"]
        http.headers["authorization"] = f"Bearer {token}"
        http.cookies.clear()
        for path in ("/api/v1/chats/", "/api/models", "/v1/models", "/api/tasks", "/api/v1/folders/"):
            assert (await http.get(path)).status_code == 403, path
        assert (await http.post("/api/v1/auths/ticket")).status_code == 403
    assert await (await server.connect(authorization=f"Bearer {token}")).closed() == 4403
    wire = await server.connect()
    await wire.say(op="hello", token=token)
    assert await wire.closed() == 4403


async def test_cve_2026_45675_of_many_who_sign_up_first_at_once_one_becomes_admin(server: Running) -> None:
    users = await asyncio.gather(*(server.sign_up(f"U{number}") for number in range(8)))
    roles = [(await user.get("/api/v1/auths/")).json()["role"] for user in users]
    assert sorted(roles) == ["admin", *["user"] * 7]


async def test_cve_2026_45339_a_key_has_the_same_limits_in_every_header_that_counts(server: Running) -> None:
    user = await server.sign_up()
    key = (await user.post("/api/v1/auths/api_key")).json()["api_key"]
    async with server.client() as http:
        limited = (await user.post("/api/v1/auths/keys", {"name": "reader", "scopes": ["read"]})).json()["api_key"]
        for headers in ({"x-api-key": limited}, {"authorization": f"Bearer {limited}"}):
            assert (await http.get("/v1/models", headers=headers)).status_code == 200
            assert (await http.post("/api/v1/chats/new", json={}, headers=headers)).json()["code"] == "scope_missing"
        for headers in ({"api-key": key}, {"authorization": f"Basic {key}"}, {"authorization": key}):
            assert (await http.get("/v1/models", headers=headers)).status_code == 401
        assert (await http.get(f"/v1/models?api_key={key}")).status_code == 401
        assert (await http.get("/v1/models", headers={"authorization": f"Bearer {key}"})).status_code == 200


# ------------------------------------------------------------------------------ what a page shows

MARKUP = [
    pytest.param(SCRIPT, id="CVE-2026-45303: HTML in a message"),
    pytest.param('<iframe src="http://localhost/api/v1/files/x/content" onload="alert(1)"></iframe>', id="CVE-2025-46719: iframe token"),
    pytest.param("[here](javascript:alert(1))", id="CVE-2026-109288: javascript: link"),
    pytest.param("[here](JaVaScRiPt&#58;alert(1))", id="CVE-2026-109288: javascript: link, hidden"),
    pytest.param("![x](javascript:alert(1))", id="CVE-2024-7053: link of a picture"),
    pytest.param("```mermaid\ngraph TD; A[<img src=x onerror=alert(1)>]\n```", id="CVE-2026-54011: mermaid"),
    pytest.param("$$\\href{javascript:alert(1)}{<img src=x onerror=alert(1)>}$$", id="CVE-2026-70492: KaTeX"),
    pytest.param('<details type="tool_calls" embeds="[&quot;<script>alert(1)</script>&quot;]"></details>', id="CVE-2026-109300: embeds"),
    pytest.param(f"![x]({SVG})", id="CVE-2026-45314: SVG picture"),
]


@pytest.mark.parametrize("text", MARKUP)
async def test_what_somebody_wrote_runs_nothing_in_an_exported_page(server: Running, text: str) -> None:
    user = await server.sign_up()
    chat_id = await user.new_chat(text)
    await user.add(chat_id, text)
    page = (await user.get(f"/api/v1/chats/{chat_id}/export", format="html")).text.lower()
    for live in ("<script", "<iframe", "<img", 'href="javascript', "<details type", "<svg"):
        assert live not in page, live
    assert 'http-equiv="content-security-policy"' in page and "script-src" not in page


async def test_cve_2026_26193_and_109291_embeds_and_citations_of_a_saved_chat_run_nothing_in_an_exported_page(server: Running) -> None:
    user = await server.sign_up()
    evil = {"source": {"name": SCRIPT, "url": "javascript:alert(1)", "embed_url": "javascript:alert(1)"}, "document": [SCRIPT]}
    message = {"id": "0190a000-0000-7000-8000-00000000000a", "parentId": None, "childrenIds": [], "role": "assistant", "content": "x"}
    message |= {"embeds": [SCRIPT], "sources": [evil], "files": [{"name": SCRIPT, "url": "javascript:alert(1)"}]}
    history = {"messages": {message["id"]: message}, "currentId": message["id"]}
    made = await user.post("/api/v1/chats/import", {"chats": [{"chat": {"title": "x", "history": history}}]})
    assert made.status_code == 200, made.text
    [chat] = (await user.get("/api/v1/chats/")).json()
    page = (await user.get(f"/api/v1/chats/{chat['id']}/export", format="html")).text.lower()
    assert "<script" not in page and 'href="javascript' not in page


@pytest.mark.parametrize("picture", [SVG, "data:text/html;base64,PHNjcmlwdD4=", "javascript:alert(1)", "data:image/png,<svg/>"])
async def test_cve_2026_45314_54013_and_56398_a_picture_that_could_run_something_is_refused(server: Running, picture: str) -> None:
    user = await server.sign_up()
    answer = await user.post("/api/v1/auths/update/profile", {"name": "Ada", "profile_image_url": picture})
    assert answer.status_code == 400
    body = {"name": "Bob", "email": "b@example.org", "password": "correct horse", "profile_image_url": picture}
    assert (await user.post("/api/v1/auths/signup", body)).status_code == 400


async def test_cve_2025_64496_what_a_model_server_sends_beside_its_answer_is_no_command() -> None:
    execute = b'data: {"event":{"type":"execute","data":{"code":"alert(1)"}}}\n\n'
    named = b'event: execute\ndata: {"code":"alert(1)"}\n\n'
    honest, _ = read(said("hi"), DONE)
    parts, failure = read(said("hi"), execute, named, DONE)
    assert failure is None
    assert "alert" not in repr([part for part in parts if part in honest])
    assert [type(part).__name__ for part in parts if type(part).__name__ in ("ToolCall", "Text")] == ["Text"]


async def test_cve_2026_109286_the_account_route_hands_no_token_to_a_caller_with_a_cookie(server: Running) -> None:
    user = await server.sign_up()
    async with server.client() as http:
        http.cookies.set("token", user.token)
        for path in ("/api/v1/auths/", "/api/v1/chats/stats/export/../../../auths/"):
            assert user.token not in (await http.get(path)).text


# -------------------------------------------------------------------- what the server is made to do


@contextlib.asynccontextmanager
async def listening() -> AsyncIterator[tuple[str, list[bytes]]]:
    """An address that notes what comes, and answers nothing."""
    came: list[bytes] = []

    async def note(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came.append(await reader.read(65_536))
        writer.close()

    listener = await asyncio.start_server(note, "127.0.0.1", 0)
    async with listener:
        yield f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/x.png", came


async def test_cve_2026_45400_45401_54020_45338_54008_and_45347_no_address_in_a_request_is_fetched(server: Running) -> None:
    user = await server.sign_up()
    async with listening() as (url, came):
        chat_id = await user.new_chat(f"![x]({url})")
        picture: list[dict[str, Any]] = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": url}]
        await user.post("/api/v1/auths/update/profile", {"name": "Ada", "profile_image_url": url})
        await user.post(f"/api/v1/chats/{chat_id}/messages", {"role": "user", "content": picture, "files": [{"url": url}]})
        for path in ("/api/chat/completions", "/v1/chat/completions"):
            body = {"model": "demo:2", "messages": [{"role": "user", "content": picture}], "chat_id": chat_id, "session_id": "x"}
            await user.post(path, {**body, "files": [{"type": "web", "url": url}]} if path.startswith("/api") else body)
        for form in ("html", "markdown", "jsonl", "open-webui"):
            await user.get(f"/api/v1/chats/{chat_id}/export", format=form)
        await asyncio.wait_for(server.settled(), 60)
        assert came == []


async def test_cve_2026_109292_a_model_server_gets_nothing_that_opens_the_account_that_asks(settings: Settings) -> None:
    async with listening() as (url, came):
        base = url.removesuffix("/x.png")
        given = msgspec.structs.replace(
            settings, openai_base_urls=(base,), openai_api_keys=("the-server-s-own-key",), ollama_base_urls=(base,)
        )
        async with running(given) as server:
            user = await server.sign_up()
            user.http.cookies.set("token", user.token)
            chat_id = await user.new_chat()
            question = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": False}
            headers = {"x-forwarded-for": "192.0.2.7", "x-secret": "a header of the browser", "origin": server.url}
            await user.post("/api/chat/completions", {**question, "chat_id": chat_id, "session_id": "x"}, **headers)
            await user.post("/v1/chat/completions", question, **headers)
            await user.http.get("/api/models", headers=headers)
        sent = b"".join(came).decode(errors="replace")
    assert "the-server-s-own-key" in sent, "it was asked"
    for secret in (user.token, "cookie", user.email, "192.0.2.7", "a header of the browser"):
        assert secret not in sent and secret not in sent.lower()


@pytest.mark.parametrize("path", ["/openai/verify", "/ollama/verify"])
async def test_cve_2025_29446_2024_7959_an_admin_does_not_reach_the_metadata_service_by_a_provider(server: Running, path: str) -> None:
    admin = await server.sign_up()
    for host in ("169.254.169.254", "[::ffff:a9fe:a9fe]", "[fe80::1%25lo]", "100.100.100.200", "0.0.0.0"):
        refused = await admin.post(path, {"url": f"http://{host}/latest/meta-data"})
        assert (refused.status_code, refused.json()["code"]) == (400, "bad_request"), host
        added = await admin.post("/api/v1/providers/", {"kind": "openai", "base_url": f"http://{host}/v1"})
        assert (added.status_code, added.json()["code"]) == (400, "bad_request"), host


@pytest.mark.parametrize("body", [b"an internal page", b'{"data": "an internal page"}', b'{"data": [{"text": "an internal page"}]}'])
async def test_cve_2025_29446_what_stands_at_an_address_is_not_shown(server: Running, body: bytes) -> None:
    async def script(peer: Peer) -> None:
        await peer.asked()
        await peer.send(whole(body))

    admin = await server.sign_up()
    async with serving(script) as upstream:
        for path in ("/openai/verify", "/ollama/verify"):
            answer = await admin.post(path, {"url": upstream.url})
            assert answer.status_code in (200, 502)
            assert "an internal page" not in answer.text
        assert len(upstream.asked) == 2


@pytest.mark.parametrize("dest", ["image", "iframe", "script", "style"])
async def test_cve_2026_45317_a_picture_that_points_at_this_server_signs_nobody_out(server: Running, dest: str) -> None:
    user = await server.sign_up()
    async with server.client() as http:
        http.cookies.set("token", user.token)
        answer = await http.get("/api/v1/auths/signout", headers={"sec-fetch-site": "same-origin", "sec-fetch-dest": dest})
    assert answer.status_code == 403
    assert (await user.get("/api/v1/auths/")).status_code == 200


async def test_cve_2024_7806_a_page_of_another_origin_changes_nothing_by_the_cookie(server: Running) -> None:
    user = await server.sign_up()
    async with server.client() as http:
        http.cookies.set("token", user.token)
        for headers in ({"sec-fetch-site": "cross-site"}, {"origin": "https://evil.example"}, {}):
            answer = await http.post("/api/v1/chats/new", json={"chat": {"title": "x"}}, headers=headers)
            assert answer.status_code == 403
    assert (await user.get("/api/v1/chats/")).json() == []


async def test_cve_2024_7036_a_long_name_is_refused_before_anything_is_hashed(server: Running) -> None:
    async with server.client() as http:
        body = {"name": "x" * 100_000, "email": "a@example.org", "password": "correct horse"}
        assert (await http.post("/api/v1/auths/signup", json=body)).status_code == 400


async def test_cve_2024_12537_and_12534_a_stranger_makes_the_server_parse_nothing(server: Running) -> None:
    """Refused by the head: a body that is no JSON at all would be another error."""
    async with server.client() as http:
        for path in ("/api/v1/chats/new", "/api/v1/chats/import", "/api/chat/completions", "/v1/chat/completions"):
            answer = await http.post(path, content=b"{" * 1_000_000, headers={"content-type": "application/json"})
            assert answer.status_code == 401, path


async def test_cve_2024_7999_and_9840_a_multipart_body_without_an_end_is_refused(server: Running) -> None:
    user = await server.sign_up()
    for boundary in ("", "x" * 5_000, "-" * 70):
        headers = {"content-type": f"multipart/form-data; boundary={boundary}"}
        answer = await user.http.post("/api/v1/chats/new", content=b"--" * 100_000, headers=headers)
        assert answer.status_code in (400, 413, 415)


@pytest.mark.parametrize(
    "path",
    ["/docs/assets/..%2f..%2f..%2f__init__.py", "/docs/assets/%2e%2e/%2e%2e/__init__.py", "/docs/assets//etc/passwd", "/docs/assets/..\\x"],
)
async def test_cve_2024_7033_7034_and_7037_no_path_leads_out_of_the_static_files(server: Running, path: str) -> None:
    async with server.client() as http:
        answer = await http.get(path)
    assert answer.status_code in (400, 404) and "import" not in answer.text
