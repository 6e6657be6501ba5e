"""OpenAI's API: models, parameters, refusals and streams in the shape that its clients read."""

import json
from typing import Any

import msgspec
import pytest

from api.settings import Settings
from tests.adapters.providers.scripted import Peer, answering, event, said, serving, whole
from tests.api.conftest import Running, User, running

pytestmark = pytest.mark.anyio

HELLO = [{"role": "user", "content": "Hello"}]
MODELS = {"object": "list", "data": [{"id": "big/model:7b", "object": "model", "created": 1_700_000_000}]}


@pytest.fixture
async def user(server: Running) -> User:
    return await server.sign_up()


def provider(*answers: bytes, then_whole: bytes = b"") -> Any:
    """A provider with one model, ``big/model:7b``, that gives these pieces to every question."""

    async def script(peer: Peer) -> None:
        while True:
            asked = await peer.asked()
            if asked.path.endswith("/models"):
                await peer.send(whole(json.dumps(MODELS).encode()))
            elif then_whole:
                await peer.send(then_whole)
            else:
                await answering(*answers)(Asked(peer, asked))

    return script


class Asked(Peer):
    """A peer whose request was read already."""

    def __init__(self, peer: Peer, asked: Any) -> None:
        self.__dict__ = peer.__dict__
        self._first = asked
        self._served = False

    async def asked(self) -> Any:
        if self._served:
            raise ConnectionError
        self._served = True
        return self._first


async def test_one_model_is_found_by_an_id_with_slashes_and_colons(settings: Settings) -> None:
    async with serving(provider()) as upstream, running(with_provider(settings, upstream.url)) as server:
        user = await server.sign_up()
        found = await user.get("/v1/models/big/model:7b")
        assert found.status_code == 200
        assert found.json() == {"id": "big/model:7b", "object": "model", "created": 1_700_000_000, "owned_by": "openai"}
        missing = await user.get("/v1/models/big/other")
        assert missing.status_code == 404
        assert missing.json()["error"]["code"] == "model_not_found"


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        ({"messages": [{"role": "wizard", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": ["x"]}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"text": "x"}]}]}, "messages[0].content"),
        ({"messages": [{"role": "assistant", "content": None, "tool_calls": "x"}]}, "messages[0].tool_calls"),
        ({"messages": [{"role": "tool", "content": "x", "tool_call_id": 1}]}, "messages[0].tool_call_id"),
        ({"messages": ["x"]}, "messages[0]"),
        ({"messages": "x"}, "messages"),
        ({"messages": []}, "messages"),
        ({"tools": ["x"]}, "tools"),
        ({"n": 0}, "n"),
        ({"n": True}, "n"),
        ({"n": 17}, "n"),
        ({"temperature": "hot"}, "temperature"),
        ({"stream": "yes"}, "stream"),
        ({"stream_options": "x"}, "stream_options"),
        ({"max_tokens": 1.5}, "max_tokens"),
        ({"stop": [1]}, "stop"),
        ({"tools": {}}, "tools"),
        ({"model": 5}, "model"),
    ],
)
async def test_a_parameter_of_the_wrong_type_is_refused_by_its_name_and_starts_nothing(
    server: Running, user: User, wrong: dict[str, Any], param: str
) -> None:
    head = await server.system.log.head()
    answer = await user.post("/v1/chat/completions", {"model": "demo:3", "messages": HELLO, **wrong})
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param
    assert answer.json()["error"]["type"] == "invalid_request_error"
    assert await server.system.log.head() == head


async def test_every_refusal_has_the_shape_of_the_original_and_names_the_request(server: Running, user: User) -> None:
    user.http.headers["x-request-id"] = "mine-1"
    unknown = await user.post("/v1/chat/completions", {"model": "nobody", "messages": HELLO})
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "model_not_found")
    no_route = await user.get("/v1/nothing")
    assert (no_route.status_code, no_route.json()["error"]["type"]) == (404, "not_found_error")
    no_method = await user.http.delete("/v1/models")
    assert (no_method.status_code, no_method.json()["error"]["code"]) == (405, "method_not_allowed")
    no_json = await user.http.post("/v1/chat/completions", content=b"{", headers={"content-type": "application/json"})
    assert (no_json.status_code, no_json.json()["error"]["type"]) == (400, "invalid_request_error")
    async with server.client() as stranger:
        no_key = await stranger.get("/v1/models")
    assert (no_key.status_code, no_key.json()["error"]["code"]) == (401, "invalid_api_key")
    assert len(no_key.headers["x-request-id"]) == 32
    assert {one.headers["x-request-id"] for one in (unknown, no_route, no_method, no_json)} == {"mine-1"}


async def test_n_answers_stand_side_by_side(user: User) -> None:
    answer = await user.post("/v1/chat/completions", {"model": "demo:3", "messages": HELLO, "n": 3})
    assert answer.status_code == 200
    choices = answer.json()["choices"]
    assert [choice["index"] for choice in choices] == [0, 1, 2]
    assert all(choice["message"]["content"] and choice["finish_reason"] == "stop" for choice in choices)


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("status", ["400 Bad Request", "429 Too Many Requests", "503 Service Unavailable"])
async def test_a_providers_refusal_keeps_its_status_code_message_and_retry_after(settings: Settings, status: str, stream: bool) -> None:
    body = json.dumps({"error": {"message": "not like this", "type": "their_type", "param": "top_p", "code": "their_code"}}).encode()
    refusing = whole(body, f"{status}\r\nretry-after: 70")  # too long to be waited for
    async with serving(provider(then_whole=refusing)) as upstream, running(with_provider(settings, upstream.url)) as server:
        user = await server.sign_up()
        asked = {"model": "big/model:7b", "messages": HELLO, "stream": stream}
        answer = await user.post("/v1/chat/completions", asked)
        assert answer.status_code == int(status[:3])
        assert answer.headers["retry-after"] == "70"
        expected = {"message": "not like this", "type": "their_type", "param": "top_p", "code": "their_code"}
        assert answer.json() == {"error": expected}
        ours = await user.post("/api/chat/completions", asked)
        assert ours.status_code == int(status[:3])
        assert ours.headers["retry-after"] == "70"
        assert ours.headers["content-type"] == "application/problem+json"
        problem = ours.json()
        assert problem["code"] == "provider_status"
        assert problem["provider"] == {"status": int(status[:3]), "retry_after": "70", **expected}


@pytest.mark.parametrize("stream", [False, True])
async def test_a_provider_that_does_not_answer_is_502(settings: Settings, stream: bool) -> None:
    async with serving(provider(then_whole=b"garbage\r\n\r\n")) as upstream, running(with_provider(settings, upstream.url)) as server:
        user = await server.sign_up()
        answer = await user.post("/v1/chat/completions", {"model": "big/model:7b", "messages": HELLO, "stream": stream})
        assert answer.status_code == 502
        assert answer.json()["error"]["type"] == "server_error"


async def test_a_failure_after_the_first_token_is_a_frame_of_the_stream(settings: Settings) -> None:
    broken = event({"error": {"message": "overheated", "code": "hot"}})
    async with serving(provider(said("Hel"), broken)) as upstream, running(with_provider(settings, upstream.url)) as server:
        user = await server.sign_up()
        answer = await user.post("/v1/chat/completions", {"model": "big/model:7b", "messages": HELLO, "stream": True})
        assert answer.status_code == 200
        frames = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: {")]
        assert frames[1]["choices"][0]["delta"] == {"content": "Hel"}
        assert frames[-1]["error"] == {"message": "overheated", "type": "server_error", "param": None, "code": "hot"}


async def test_a_request_keeps_the_keys_that_only_the_provider_knows(settings: Settings) -> None:
    async with serving(provider(said("x", "stop"), event("[DONE]"))) as upstream, running(with_provider(settings, upstream.url)) as server:
        user = await server.sign_up()
        own = {"metadata": {"a": "b"}, "service_tier": "flex", "user": "u", "store": False, "never_heard_of": [1]}
        answer = await user.post("/v1/chat/completions", {"model": "big/model:7b", "messages": HELLO, **own})
        assert answer.status_code == 200, answer.text
        sent = upstream.asked[-1].json
        assert {name: sent[name] for name in own} == own


PIXEL = "data:image/png;base64,iVBORw0KGgo="
PROBABILITIES = {"content": [{"token": "x", "logprob": -0.5, "bytes": [120], "top_logprobs": []}]}
SAYS_MORE = (
    event({"system_fingerprint": "fp", "service_tier": "flex", "provider": "P", "choices": [{"delta": {"role": "assistant"}}]}),
    event({"choices": [{"delta": {"content": "x"}, "logprobs": PROBABILITIES}]}),
    said(refusal="No."),
    said(mood="glad", images=[{"type": "image_url", "image_url": {"url": PIXEL}}]),
    said(annotations=[{"type": "url_citation", "url_citation": {"url": "https://a", "title": "A"}}]),
    said(audio={"id": "a1", "data": "AAAA", "expires_at": 7}),
    event({"choices": [{"delta": {}, "finish_reason": "stop", "stop_reason": 9}]}) + event("[DONE]"),
)


async def test_an_answer_keeps_what_only_the_provider_knows(settings: Settings) -> None:
    async with serving(provider(*SAYS_MORE)) as upstream, running(with_provider(settings, upstream.url)) as server:
        user = await server.sign_up()
        answer = (await user.post("/v1/chat/completions", {"model": "big/model:7b", "messages": HELLO, "logprobs": True})).json()
    assert (answer["system_fingerprint"], answer["service_tier"], answer["provider"]) == ("fp", "flex", "P")
    [choice] = answer["choices"]
    assert (choice["finish_reason"], choice["stop_reason"], choice["logprobs"]) == ("stop", 9, PROBABILITIES)
    assert choice["message"] == {
        "role": "assistant",
        "content": "x",
        "refusal": "No.",
        "mood": "glad",
        "images": [{"type": "image_url", "image_url": {"url": PIXEL}}],
        "annotations": [{"type": "url_citation", "url_citation": {"url": "https://a", "title": "A"}}],
        "audio": {"id": "a1", "data": "AAAA", "expires_at": 7, "transcript": "x"},
    }


async def test_a_stream_keeps_what_only_the_provider_knows(settings: Settings) -> None:
    async with serving(provider(*SAYS_MORE)) as upstream, running(with_provider(settings, upstream.url)) as server:
        user = await server.sign_up()
        answer = await user.post("/v1/chat/completions", {"model": "big/model:7b", "messages": HELLO, "logprobs": True, "stream": True})
    frames = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: {")]
    choices = [frame["choices"][0] for frame in frames]
    assert [choice.get("logprobs") for choice in choices if choice["delta"].get("content")] == [PROBABILITIES]
    deltas = [choice["delta"] for choice in choices]
    assert [delta["refusal"] for delta in deltas if "refusal" in delta] == ["No."]
    assert [delta["audio"] for delta in deltas if "audio" in delta] == [{"id": "a1"}, {"data": "AAAA"}, {"expires_at": 7}]
    assert [delta["images"][0]["image_url"]["url"] for delta in deltas if "images" in delta] == [PIXEL]
    assert (choices[-1]["finish_reason"], choices[-1]["stop_reason"], deltas[-1]["mood"]) == ("stop", 9, "glad")
    assert (frames[-1]["system_fingerprint"], frames[-1]["service_tier"]) == ("fp", "flex")


def with_provider(settings: Settings, url: str) -> Settings:
    return msgspec.structs.replace(settings, openai_base_urls=(f"{url}/v1",))
