"""Model servers that admins add, change and remove over HTTP, on one process and on two."""

import asyncio
import json
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from api.settings import Settings
from tests.adapters.providers.scripted import END, LAST, SSE_HEAD, Asked, Peer, chunk, said
from tests.api.conftest import Running, Serving, on_one_and_two
from tests.api.providers.support import (
    MODEL,
    added,
    ask,
    everywhere,
    model_server,
    models_of,
    provider_events,
    questions,
    until,
)

pytestmark = [pytest.mark.anyio, on_one_and_two]
PROVIDERS = "/api/v1/providers/"
KEY, HEADER = "sk-a-key-of-the-operator", "a-secret-in-a-header"


async def test_a_provider_that_is_added_is_asked_at_once_on_every_process(server: Running) -> None:
    admin = await server.sign_up()
    async with model_server(key=KEY) as upstream:
        made = await added(admin, f"{upstream.url}/v1", key=KEY, headers={"X-Team": HEADER}, name="Upstairs", tags=["fast"])
        assert (made["key"], made["headers"], made["name"], made["from_settings"]) == ("***", {"X-Team": "***"}, "Upstairs", False)
        for _ in range(2):
            assert await models_of(server, admin) == [MODEL]
            assert await ask(admin, MODEL) == "Hello"
        asked = questions(upstream)[0]
        assert (asked.headers["authorization"], asked.headers["x-team"]) == (f"Bearer {KEY}", HEADER)
        meta = [model["info"]["meta"] for model in (await admin.get("/api/models")).json()["data"] if model["id"] == MODEL]
        assert meta[0]["tags"] == [{"name": "fast"}]


async def test_no_secret_is_in_an_answer_or_an_event(server: Running) -> None:
    admin = await server.sign_up()
    proxy = "http://user:pass-of-the-proxy@127.0.0.1:1"
    made = await added(admin, "http://127.0.0.1:1/v1", key=KEY, headers={"X-Team": HEADER}, proxy=proxy)
    await admin.post(PROVIDERS + made["id"], {"key": "sk-another-key"})
    await everywhere(server)
    paths = (PROVIDERS, PROVIDERS + made["id"], "/openai/config", "/ollama/config", f"/api/v1/streams/provider/{made['id']}/events")
    answers = [await admin.get(path) for path in paths]
    assert {answer.status_code for answer in answers} == {200}
    shown = "".join(answer.text for answer in answers) + json.dumps(await provider_events(server))
    for secret in (KEY, HEADER, "pass-of-the-proxy", "sk-another-key"):
        assert secret not in shown
    changes = [event for event in await provider_events(server) if event["type"] == "provider_secrets_changed"]
    assert [(one["changed"], one["by"]["name"]) for one in changes] == [(["key", "headers", "proxy"], "Ada"), (["key"], "Ada")]
    assert changes[1]["has_key"] and changes[1]["header_names"] == ["X-Team"] and changes[1]["has_proxy"]


async def test_a_prefix_is_in_front_of_the_id_and_the_provider_gets_the_bare_one(server: Running) -> None:
    admin = await server.sign_up()
    async with model_server("llama3.acme.tuned") as upstream:
        made = await added(admin, f"{upstream.url}/v1", prefix_id="acme")
        assert await models_of(server, admin) == ["acme.llama3.acme.tuned"]
        assert await ask(admin, "acme.llama3.acme.tuned") == "Hello"
        assert questions(upstream)[0].json["model"] == "llama3.acme.tuned"
        answer = await admin.post(PROVIDERS + made["id"], {"prefix_id": None})
        assert answer.json()["prefix_id"] is None
        assert await models_of(server, admin) == ["llama3.acme.tuned"]


async def test_a_provider_that_is_off_is_not_asked(server: Running) -> None:
    admin = await server.sign_up()
    async with model_server() as upstream:
        made = await added(admin, f"{upstream.url}/v1")
        assert await models_of(server, admin) == [MODEL]
        assert (await admin.post(PROVIDERS + made["id"], {"enabled": False})).json()["enabled"] is False
        assert await models_of(server, admin) == []
        assert await ask(admin, MODEL) == (404, "model_not_found")
        refused = await admin.post("/api/chat/completions", {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}]})
        assert (refused.status_code, refused.json()["code"]) == (400, "model_not_found")
        assert questions(upstream) == []
        await admin.post(PROVIDERS + made["id"], {"enabled": True})
        assert await models_of(server, admin) == [MODEL]
        assert await ask(admin, MODEL) == "Hello"
    types = [event["type"] for event in await provider_events(server)]
    assert types == ["provider_added", "provider_disabled", "provider_enabled"]


async def test_a_provider_that_is_down_fails_with_a_code_and_hides_no_other(server: Running) -> None:
    admin = await server.sign_up()
    async with model_server("alive") as upstream:
        await added(admin, "http://127.0.0.1:1/v1", model_ids=["down"])
        await added(admin, f"{upstream.url}/v1")
        assert sorted(await models_of(server, admin)) == ["alive", "down"]
        assert await ask(admin, "down") == (502, "provider_unreachable")
        assert await ask(admin, "alive") == "Hello"


async def test_a_running_answer_goes_on_without_its_provider(server: Running) -> None:
    admin, go_on = await server.sign_up(), asyncio.Event()

    async def slow(peer: Peer, _: Asked) -> None:
        await peer.send(SSE_HEAD, chunk(said("Hel")))
        await go_on.wait()
        await peer.send(chunk(said("lo") + END), LAST)

    async with model_server(answer=slow) as upstream:
        made = await added(admin, f"{upstream.url}/v1", key=KEY)
        assert await models_of(server, admin) == [MODEL]
        asking = asyncio.create_task(ask(admin, MODEL))
        await until(lambda: questions(upstream))
        assert (await admin.http.delete(PROVIDERS + made["id"])).json() is True
        assert await models_of(server, admin) == []
        go_on.set()
        assert await asking == "Hello"
    gone = await admin.get(PROVIDERS + made["id"])
    assert (gone.status_code, gone.json()["code"]) == (404, "provider_not_found")
    assert (await provider_events(server))[-1]["type"] == "provider_removed"


@pytest.mark.parametrize("kind", ["openai", "ollama"])
async def test_of_a_list_only_its_models_can_be_asked(server: Running, kind: str) -> None:
    admin = await server.sign_up()
    async with model_server("one", "two") as upstream:
        await added(admin, upstream.url, kind, model_ids=["two"])
        assert await models_of(server, admin) == ["two"]
        assert await ask(admin, "two") == "Hello"
        assert await ask(admin, "one") == (404, "model_not_found")


async def test_of_two_models_with_one_id_ollamas_is_asked(server: Running) -> None:
    admin = await server.sign_up()
    async with model_server() as openai, model_server() as ollama:
        await added(admin, f"{openai.url}/v1")
        await added(admin, ollama.url, "ollama")
        assert await models_of(server, admin) == [MODEL]
        assert await ask(admin, MODEL) == "Hello"
        assert (len(questions(openai)), len(questions(ollama))) == (0, 1)


async def test_a_model_that_is_new_at_its_server_is_found(server: Running) -> None:
    admin = await server.sign_up()
    async with model_server("old", "new") as upstream:
        made = await added(admin, upstream.url, "ollama", model_ids=["old"])
        assert await models_of(server, admin) == ["old"]
        await admin.post(PROVIDERS + made["id"], {"model_ids": None})
        await everywhere(server)
        assert await ask(admin, "new") == "Hello"


async def test_a_repeated_addition_adds_once(server: Running) -> None:
    admin, own_id = await server.sign_up(), str(uuid4())
    first = await added(admin, "http://127.0.0.1:1/v1", id=own_id, key=KEY)
    again = await added(admin, "http://127.0.0.1:1/v1", id=own_id, key=KEY)
    assert first == again
    assert len((await admin.get(PROVIDERS)).json()) == 1
    assert len(await provider_events(server)) == 2
    other = await admin.post(PROVIDERS, {"kind": "openai", "base_url": "http://127.0.0.1:2/v1", "id": own_id})
    assert other.status_code == 400


# --------------------------------------------------------------------------------------------------------------- refused


@pytest.mark.parametrize(
    "more",
    [
        {"base_url": "ftp://example.org"},
        {"base_url": "http://"},
        {"base_url": "http://user:password@example.org"},
        {"base_url": "http://example.org?key=x"},
        {"base_url": "http://example.org:99999"},
        {"base_url": "http://exa mple.org"},
        {"base_url": "http://169.254.169.254/latest"},
        {"base_url": "http://[::ffff:169.254.169.254]/"},
        {"base_url": "http://[fe80::1]/"},
        {"proxy": "http://169.254.169.254:80"},
        {"proxy": "socks5://127.0.0.1:1"},
        {"prefix_id": "a b"},
        {"prefix_id": ""},
        {"model_ids": ["x" * 201]},
        {"model_ids": [""]},
        {"tags": ["t"] * 51},
        {"connection_type": "wireless"},
        {"idle_timeout_s": 0},
        {"idle_timeout_s": 1e9},
        {"name": "\u202e"},
        {"key": "sk-line\r\nX-Evil: 1"},
        {"key": "sk-ключ"},
        {"headers": {"X-Evil": "a\r\nb"}},
        {"headers": {"bad name": "x"}},
        {"headers": {"Host": "example.org"}},
        {"headers": {f"X-{number}": "x" for number in range(51)}},
        {"kind": "anthropic"},
        {"unknown": 1},
    ],
    ids=repr,
)
async def test_what_cannot_be_a_provider_is_refused_and_nothing_is_written(server: Running, more: dict[str, Any]) -> None:
    admin = await server.sign_up()
    answer = await admin.post(PROVIDERS, {"kind": "openai", "base_url": "http://127.0.0.1:1/v1", **more})
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_request"), answer.text
    assert await provider_events(server) == []
    assert "sk-" not in answer.text


async def test_providers_are_for_admins(server: Running) -> None:
    admin, bob = await server.sign_up(), await server.sign_up("Bob")
    made = await added(admin, "http://127.0.0.1:1/v1", key=KEY)
    one, url = PROVIDERS + made["id"], {"kind": "openai", "base_url": "http://127.0.0.1:2/v1"}
    lists = {"OPENAI_API_BASE_URLS": [], "OPENAI_API_KEYS": [], "OPENAI_API_CONFIGS": {}, "OLLAMA_BASE_URLS": [], "OLLAMA_API_CONFIGS": {}}
    answers = [
        *[await bob.get(path) for path in (PROVIDERS, one, "/openai/config", "/ollama/config")],
        *[await bob.post(path, url) for path in (PROVIDERS, one + "/verify")],
        await bob.post(one, {"enabled": False}),
        await bob.http.delete(one),
        *[await bob.post(f"/{kind}/config/update", lists) for kind in ("openai", "ollama")],
        *[await bob.post(f"/{kind}/verify", {"url": "http://127.0.0.1:1"}) for kind in ("openai", "ollama")],
    ]
    assert {answer.status_code for answer in answers} == {403}
    stream = await bob.get(f"/api/v1/streams/provider/{made['id']}/events")
    assert stream.status_code == 404
    assert len(await provider_events(server)) == 2


async def test_a_stored_key_is_not_shown_to_another_server(server: Running) -> None:
    """Whoever may set a key must not be able to read it: not by sending it to a server of their own."""
    admin = await server.sign_up()
    async with model_server() as upstream:
        made = await added(admin, "http://127.0.0.1:1/v1", key=KEY, headers={"X-Team": HEADER})
        one = PROVIDERS + made["id"]
        for body in (
            {"base_url": f"{upstream.url}/v1"},
            {"base_url": f"{upstream.url}/v1", "key": "***", "headers": {}},
            {"base_url": f"{upstream.url}/v1", "key": "", "headers": {"X-Team": "***"}},
            {"proxy": upstream.url},
        ):
            answer = await admin.post(one, body)
            assert (answer.status_code, answer.json()["code"]) == (400, "bad_request"), answer.text
        verified = await admin.post("/openai/verify", {"url": upstream.url, "key": "***", "config": {"headers": {"X-Team": "***"}}})
        assert verified.status_code == 200
        assert (await admin.post(one, {"base_url": f"{upstream.url}/v1", "key": "sk-new-one", "headers": {}})).status_code == 200
        assert await models_of(server, admin) == [MODEL]
        sent = [value for asked in upstream.asked for value in asked.headers.values()]
    assert not any(KEY in value or HEADER in value for value in sent)
    assert "Bearer sk-new-one" in sent


async def test_a_key_and_headers_can_be_taken_away(server: Running) -> None:
    admin = await server.sign_up()
    async with model_server() as upstream:
        made = await added(admin, f"{upstream.url}/v1", key=KEY, headers={"X-Team": HEADER, "X-Other": "stays"})
        changed = await admin.post(PROVIDERS + made["id"], {"key": "", "headers": {"X-Other": "***"}})
        assert (changed.json()["key"], changed.json()["headers"]) == ("", {"X-Other": "***"})
        assert await models_of(server, admin) == [MODEL]
        assert "authorization" not in upstream.asked[-1].headers
        assert (upstream.asked[-1].headers.get("x-team"), upstream.asked[-1].headers.get("x-other")) == (None, "stays")


async def test_two_admins_at_once_lose_nothing(server: Running) -> None:
    admin = await server.sign_up()
    made = await added(admin, "http://127.0.0.1:1/v1")
    one = PROVIDERS + made["id"]
    bodies = [{"key": KEY}, {"headers": {"X-Team": HEADER}}, {"tags": ["a"]}, {"name": "Both"}, {"prefix_id": "p"}]
    answers = await asyncio.gather(*(admin.post(one, body) for body in bodies))
    assert {answer.status_code for answer in answers} == {200}
    await everywhere(server)
    now = (await admin.get(one)).json()
    assert (now["key"], now["headers"], now["tags"], now["name"], now["prefix_id"]) == ("***", {"X-Team": "***"}, ["a"], "Both", "p")


# ---------------------------------------------------------------------------------------------------------- the settings


async def test_a_provider_of_the_settings_can_be_changed_and_switched_off_but_not_removed(settings: Settings, serving: Serving) -> None:
    async with model_server(key=KEY) as upstream:
        given = msgspec.structs.replace(settings, openai_base_urls=(f"{upstream.url}/v1",), openai_api_keys=(KEY,))
        async with serving(given) as server:
            admin = await server.sign_up()
            (fixed,) = (await admin.get(PROVIDERS)).json()
            assert (fixed["from_settings"], fixed["key"], fixed["name"]) == (True, "***", "openai 1")
            one = PROVIDERS + fixed["id"]
            assert (await admin.post(one, {"prefix_id": "up", "tags": ["a"]})).status_code == 200
            assert await models_of(server, admin) == [f"up.{MODEL}"]
            assert await ask(admin, f"up.{MODEL}") == "Hello"
            assert (await admin.post(one, {"enabled": False})).status_code == 200
            assert await models_of(server, admin) == []
            assert (await admin.http.delete(one)).status_code == 400
            assert (await admin.post(one, {"base_url": "http://127.0.0.1:1"})).status_code == 400
            assert (await admin.post(one, {"enabled": True, "prefix_id": None, "tags": None})).status_code == 200
            assert await models_of(server, admin) == [MODEL]
            types = [event["type"] for event in await provider_events(server)]
            assert types == ["provider_added", "provider_changed", "provider_disabled", "provider_changed", "provider_enabled"]


async def test_a_named_provider_of_the_settings_has_all_that_can_be_said(settings: Settings, serving: Serving) -> None:
    async with model_server("a", "b", key=KEY) as upstream:
        entry = {
            "kind": "ollama",
            "base_url": upstream.url,
            "api_key": KEY,
            "headers": {"X-Team": HEADER},
            "prefix_id": "home",
            "model_ids": ["b"],
            "idle_timeout_s": 7,
        }
        off = {"kind": "openai", "base_url": "http://127.0.0.1:1/v1", "enabled": False}
        async with serving(msgspec.structs.replace(settings, providers={"home": entry, "off": off})) as server:
            admin = await server.sign_up()
            assert await models_of(server, admin) == ["home.b"]
            assert await ask(admin, "home.b") == "Hello"
            assert questions(upstream)[0].headers["x-team"] == HEADER
            shown = {one["name"]: one for one in (await admin.get(PROVIDERS)).json()}
            assert (shown["home"]["idle_timeout_s"], shown["home"]["key"], shown["off"]["enabled"]) == (7, "***", False)


async def test_over_http_nothing_changes_where_the_settings_say_so(settings: Settings, serving: Serving) -> None:
    async with serving(msgspec.structs.replace(settings, providers_over_http=False)) as server, model_server() as upstream:
        admin = await server.sign_up()
        lists = {"OPENAI_API_BASE_URLS": [upstream.url], "OPENAI_API_KEYS": [], "OPENAI_API_CONFIGS": {}}
        for path, body in (
            (PROVIDERS, {"kind": "openai", "base_url": upstream.url}),
            ("/openai/config/update", lists),
            ("/openai/verify", {"url": upstream.url}),
            ("/ollama/verify", {"url": upstream.url}),
        ):
            answer = await admin.post(path, body)
            assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
        assert (await admin.get(PROVIDERS)).json() == []
        assert upstream.asked == []


async def test_a_name_that_leads_into_a_closed_network_is_not_connected_to(settings: Settings, serving: Serving) -> None:
    async with serving(msgspec.structs.replace(settings, provider_refused_networks=("127.0.0.0/8", "::1/128"))) as server:
        admin = await server.sign_up()
        async with model_server() as upstream:
            url = upstream.url.replace("127.0.0.1", "localhost")
            made = await added(admin, url)
            answer = await admin.post(f"{PROVIDERS}{made['id']}/verify")
            assert (answer.status_code, answer.json()["code"]) == (502, "provider_unreachable")
            assert "STENO_PROVIDER_REFUSED_NETWORKS" in answer.json()["detail"]
            assert await models_of(server, admin) == []
            proxied = await added(admin, "http://nowhere.example/v1", proxy=url, model_ids=["proxied"])
            assert (await admin.post(f"{PROVIDERS}{proxied['id']}/verify")).json()["code"] == "provider_unreachable"
            await models_of(server, admin)
            assert await ask(admin, "proxied") == (502, "provider_unreachable")
            assert upstream.asked == []
