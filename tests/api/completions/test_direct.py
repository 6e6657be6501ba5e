"""Direct connections: a tab answers by its user's own provider, wherever it is connected, and nothing of the server's is asked."""

import asyncio
import json
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from api.settings import Settings
from tests.api.conftest import Running, Serving, User, Wire, on_one_and_two

pytestmark = [pytest.mark.anyio, on_one_and_two]

KEY = "sk-the-users-own-key"
MODEL_ITEM = {"id": "my-model", "direct": True, "urlIdx": 0, "connection": {"url": "http://provider", "key": KEY}}


def piece(text: str, **more: Any) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {"content": text}, **more}]}


END = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}
DONE = {"done": True}


class Tab:
    """A tab of ``user`` that follows one chat, and relays what the test tells it."""

    def __init__(self, server: Running, user: User, wire: Wire) -> None:
        self.server, self.user, self.wire = server, user, wire
        self.session_id: str = wire.frames[0]["session_id"]
        self.chat_id = self.call_id = ""
        self.seq = 0

    @property
    def stream(self) -> str:
        return f"chat/{self.chat_id}"

    async def follow(self, chat_id: str) -> None:
        self.chat_id = chat_id
        await self.wire.say(op="subscribe", id=1, stream=self.stream, after="start")
        await self.wire.op("caught_up")

    async def asked(self, number: int = 1) -> dict[str, Any]:
        """The ``number``th call that this tab sees, with the question as it fetches it."""
        while len(calls := [one for one in self.wire.events(self.stream) if one["data"]["type"] == "call"]) < number:
            await self.wire.frame()
        self.call_id, self.seq = calls[number - 1]["data"]["data"]["call_id"], 0
        answer = await self.user.get(f"/api/v1/chats/{self.chat_id}/calls/{self.call_id}")
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    async def chunk(self, data: Any, seq: int | None = None) -> dict[str, Any]:
        """Relay one chunk; the reply to it."""
        number = self.seq if seq is None else seq
        await self.wire.say(op="chunk", call_id=self.call_id, seq=number, data=data)
        reply = await self.wire.until(lambda frame: frame["op"] in ("chunk_ok", "error"))
        if reply["op"] == "chunk_ok" and seq is None:
            self.seq += 1
        return reply

    async def relay(self, *chunks: Any) -> None:
        for data in chunks:
            reply = await self.chunk(data)
            assert reply == {"op": "chunk_ok", "call_id": self.call_id, "seq": self.seq - 1}

    async def ended(self) -> dict[str, Any]:
        """The data of the event that ends the answer, with its type as ``type``."""
        ends = ("message_end", "error", "cancelled", "interrupted")
        while True:
            found = [one["data"] for one in self.wire.events(self.stream) if one["data"]["type"] in ends]
            if found:
                return {"type": found[-1]["type"], **found[-1]["data"]}
            await self.wire.frame()

    def types(self) -> list[str]:
        return [one["data"]["type"] for one in self.wire.events(self.stream)]

    def deltas(self) -> list[str]:
        return [one["data"]["data"]["text"] for one in self.wire.events(self.stream) if one["data"]["type"] == "message_delta"]


async def ask(tab: Tab, **more: Any) -> dict[str, Any]:
    body = {
        "model": "my-model",
        "model_item": MODEL_ITEM,
        "chat_id": tab.chat_id,
        "session_id": tab.session_id,
        "stream": True,
        "messages": [{"role": "user", "content": "Hello"}],
        **more,
    }
    answer = await tab.user.post("/api/chat/completions", body)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def opened(server: Running, user: User) -> Tab:
    return Tab(server, user, await server.connect(user))


@pytest.fixture
async def tab(server: Running) -> Tab:
    made = await opened(server, await server.sign_up())
    await made.follow(await made.user.new_chat())
    return made


# -------------------------------------------------------------------------------------------------------- the way of a token


async def test_the_tab_is_asked_and_what_it_relays_is_the_answer(tab: Tab) -> None:
    begun = await ask(tab, temperature=0.5)
    call = await tab.asked()
    assert (call["kind"], call["session_id"], call["relayed"], call["message_id"], call["state"]) == (
        *("request:chat:completion", tab.session_id, True),
        begun["message_id"],
        "open",
    )
    asked = call["data"]
    assert (asked["model"], asked["channel"], asked["session_id"]) == ("my-model", call["call_id"], tab.session_id)
    form = asked["form_data"]
    assert (form["model"], form["stream"], form["temperature"]) == ("my-model", True, 0.5)
    assert form["messages"] == [{"role": "user", "content": "Hello"}]
    await tab.relay(piece("Hel"), piece("lo"), END, DONE)
    end = await tab.ended()
    assert (end["type"], end["content"], end["finish_reason"]) == ("message_end", "Hello", "stop")
    assert (end["usage"]["input_tokens"], end["usage"]["output_tokens"], end["usage"]["total_tokens"]) == (3, 2, 5)
    assert tab.deltas() == ["Hel", "lo"]
    order = [one for one in tab.types() if one in ("message_start", "call", "call_answered", "message_end")]
    assert order == ["message_start", "call", "call_answered", "message_end"]
    answered = await tab.wire.event(tab.stream, "call_answered")
    assert answered["data"]["data"] == {
        "call_id": tab.call_id,
        "by": tab.user.id,
        "session_id": tab.session_id,
        "data": {"chunks": 4},
    }


async def test_neither_the_payload_nor_anything_of_the_users_provider_is_in_the_log(tab: Tab) -> None:
    await ask(tab, params={"system": "my own secret prompt"})
    form = (await tab.asked())["data"]["form_data"]
    assert form["messages"][0]["content"] == "my own secret prompt"
    await tab.relay(piece("Hi"), END, DONE)
    await tab.ended()
    events = (await tab.user.get(f"/api/v1/streams/{tab.stream}/events", limit=1000)).text
    assert "my own secret prompt" not in events
    assert KEY not in events
    assert "http://provider" not in events
    call = await tab.wire.event(tab.stream, "call")
    assert call["data"]["data"]["data"] == {"model": "my-model", "stream": True}


@pytest.mark.parametrize(
    "chunks",
    [
        [f"data: {json.dumps(piece('Hel'))}", f"data: {json.dumps(piece('lo'))}\n\n", f"data: {json.dumps(END)}", "data: [DONE]", DONE],
        [piece("Hel"), f"data: {json.dumps(piece('lo'))}", END, DONE],
        [json.dumps(piece("Hel")), json.dumps(piece("lo")), "[DONE]"],
        [[piece("Hel"), piece("lo"), END, DONE]],
        [f"data: {json.dumps(piece('Hel'))}\n\ndata: {json.dumps(piece('lo'))}\n\ndata: [DONE]\n\n", DONE],
        [piece("Hel"), "", ": a comment", "id: 5", "event: message", {"unknown": 1}, 5, None, [[piece("no")]], [], piece("lo"), END, DONE],
    ],
    ids=["lines", "both", "without data:", "one list", "one text", "with noise"],
)
async def test_lines_and_objects_count_alike(tab: Tab, chunks: list[Any]) -> None:
    await ask(tab)
    await tab.asked()
    await tab.relay(*chunks)
    end = await tab.ended()
    assert (end["type"], end["content"]) == ("message_end", "Hello")


async def test_without_stream_the_tab_answers_with_the_whole_completion(tab: Tab) -> None:
    await ask(tab, stream=False)
    call = await tab.asked()
    assert call["data"]["form_data"]["stream"] is False
    whole = {
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "All of it"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 4},
    }
    answer = await tab.user.post(f"/api/v1/chats/{tab.chat_id}/calls/{tab.call_id}/answer", {"data": whole})
    assert answer.status_code == 200, answer.text
    assert answer.json()["version"] is None
    end = await tab.ended()
    assert (end["type"], end["content"], end["usage"]["total_tokens"]) == ("message_end", "All of it", 7)


async def test_a_tab_that_says_first_that_it_will_stream_may_do_so(tab: Tab) -> None:
    await ask(tab)
    await tab.asked()
    await tab.wire.say(op="answer", call_id=tab.call_id, data={"status": True})
    await tab.wire.op("answer_ok")
    tab.seq = 1  # it counts as the first thing that came
    await tab.relay(piece("Hello"), END, DONE)
    assert (await tab.ended())["content"] == "Hello"


async def test_models_beside_it_are_asked_as_ever(tab: Tab) -> None:
    ids = [{"model_id": "my-model", "message_id": str(uuid4())}, {"model_id": "demo:3", "message_id": str(uuid4())}]
    await ask(tab, message_ids=ids)
    await tab.asked()
    await tab.relay(piece("mine"), END, DONE)
    while tab.types().count("message_end") < 2:
        await tab.wire.frame()
    assert tab.types().count("call") == 1


# ------------------------------------------------------------------------------------------------------ numbers and takeover


async def test_a_repeat_is_ignored_and_a_gap_names_the_expected_chunk(tab: Tab) -> None:
    await ask(tab)
    await tab.asked()
    await tab.relay(piece("Hel"))
    assert (await tab.chunk(piece("Hel"), seq=0))["op"] == "chunk_ok"
    gap = await tab.chunk(piece("lo"), seq=2)
    assert (gap["op"], gap["code"], gap["call_id"], gap["seq"], gap["expected_seq"], gap["received_seq"]) == (
        *("error", "chunk_gap", tab.call_id, 2, 1, 2),
    )
    await tab.relay(piece("lo"), END, DONE)
    assert (await tab.ended())["content"] == "Hello"
    assert (await tab.chunk(piece("Hel"), seq=0))["op"] == "chunk_ok"  # also once it is over
    late = await tab.chunk(piece("more"), seq=9)
    assert (late["code"], late["by"]) == ("call_answered", tab.user.id)


async def test_a_tab_that_comes_back_goes_on_with_the_next_number(server: Running, tab: Tab) -> None:
    await ask(tab)
    await tab.asked()
    await tab.relay(piece("Hel"))
    await tab.wire.socket.close()
    again = await opened(server, tab.user)
    await again.follow(tab.chat_id)
    await again.asked()
    gap = await again.chunk(piece("?"), seq=7)
    again.seq = gap["expected_seq"]
    await again.relay(piece("lo"), END, DONE)
    assert (await again.ended())["content"] == "Hello"
    assert again.deltas() == ["Hel", "lo"]


async def test_another_persons_tab_is_refused_and_sees_nothing_of_the_payload(server: Running, tab: Tab) -> None:
    other = await opened(server, await server.sign_up("Other"))
    shared = await tab.user.post(f"/api/v1/chats/{tab.chat_id}/access", {"user_id": other.user.id, "permission": "write"})
    assert shared.status_code == 200, shared.text
    await other.follow(tab.chat_id)
    await ask(tab)
    await tab.asked()
    other.call_id = tab.call_id
    assert (await other.chunk(piece("forged")))["code"] == "call_not_found"
    assert (await other.user.get(f"/api/v1/chats/{tab.chat_id}/calls/{tab.call_id}")).status_code == 404
    await tab.relay(piece("mine"), END, DONE)
    assert (await tab.ended())["content"] == "mine"


async def test_who_loses_their_access_writes_no_more_into_the_chat(server: Running, tab: Tab) -> None:
    guest = await opened(server, await server.sign_up("Guest"))
    access = f"/api/v1/chats/{tab.chat_id}/access"
    assert (await tab.user.post(access, {"user_id": guest.user.id, "permission": "write"})).status_code == 200
    await server.settled()
    await guest.follow(tab.chat_id)
    await ask(guest)
    await guest.asked()
    await guest.relay(piece("welcome"))
    await tab.wire.event(tab.stream, "message_delta")
    assert (await tab.user.post(access, {"user_id": guest.user.id, "permission": None})).status_code == 200
    for _ in range(3):
        await guest.chunk(piece(" not any more"))
    end = await tab.ended()
    assert (end["type"], end["code"]) == ("error", "provider_broke_off")
    assert end["content"].count("not any more") <= 1  # one that was on its way


async def test_a_session_that_is_somebody_elses_gives_that_person_nothing(server: Running, tab: Tab) -> None:
    other = await opened(server, await server.sign_up("Other"))
    await ask(tab, session_id=other.session_id)
    await tab.asked()
    other.call_id = tab.call_id
    assert (await other.chunk(piece("forged")))["code"] == "call_not_found"
    await tab.relay(piece("mine"), END, DONE)
    assert (await tab.ended())["content"] == "mine"


async def test_many_chunks_that_come_at_once_are_applied_in_their_order(tab: Tab) -> None:
    await ask(tab)
    await tab.asked()
    words = [f"{number} " for number in range(300)]
    for seq, word in enumerate(words):
        await tab.wire.say(op="chunk", call_id=tab.call_id, seq=seq, data=piece(word))
    await tab.wire.say(op="chunk", call_id=tab.call_id, seq=len(words), data=DONE)
    end = await tab.ended()
    # Without a finish reason the answer is what came, and its end says so.
    assert end["content"] == "".join(words)


# -------------------------------------------------------------------------------------------------------------- its ends


@pytest.mark.parametrize(
    ("chunk", "code"),
    [
        ({"error": {"message": "no such model", "code": 404}}, "provider_error"),
        ('data: {"error": "out of credit"}', "provider_error"),
        (DONE, "provider_broke_off"),
    ],
    ids=["object", "line", "nothing"],
)
async def test_an_error_of_the_tabs_provider_is_the_answers_error(tab: Tab, chunk: Any, code: str) -> None:
    await ask(tab)
    await tab.asked()
    await tab.relay(chunk)
    end = await tab.ended()
    assert (end["type"], end["code"], end["content"]) == ("error", code, "")
    assert "call_answered" in tab.types()


async def test_an_error_as_the_answer_to_the_call_keeps_what_was_said(tab: Tab) -> None:
    await ask(tab)
    await tab.asked()
    await tab.relay(piece("Hel"))
    await tab.wire.say(op="answer", call_id=tab.call_id, data={"error": {"message": "the provider hung up"}})
    await tab.wire.op("answer_ok")
    end = await tab.ended()
    assert (end["type"], end["code"], end["content"]) == ("error", "provider_error", "Hel")
    assert "hung up" in end["detail"]


async def test_a_stop_reaches_the_tab_as_an_event_and_its_later_chunks_are_refused(tab: Tab) -> None:
    begun = await ask(tab)
    await tab.asked()
    await tab.relay(piece("Hel"))
    stopped = await tab.user.post(f"/api/tasks/stop/{begun['task_id']}")
    assert stopped.status_code == 200, stopped.text
    expired = await tab.wire.event(tab.stream, "call_expired")
    assert expired["data"]["data"] == {"call_id": tab.call_id, "reason": "cancelled"}
    assert (await tab.ended())["type"] == "cancelled"
    await tab.server.settled()
    while (late := await tab.chunk(piece("lo")))["op"] == "chunk_ok":  # until the run has let go of it
        pass
    assert (late["code"], late["reason"]) == ("call_expired", "cancelled")


async def test_a_tab_that_never_answers_or_goes_silent_ends_the_answer(settings: Settings, serving: Serving) -> None:
    short = msgspec.structs.replace(settings, provider_first_token_timeout_s=0.3, provider_idle_timeout_s=0.3)
    async with serving(short) as server:
        for chunks, code in (([], "provider_unreachable"), ([piece("Hel")], "provider_idle")):
            tab = await opened(server, await server.sign_up())
            await tab.follow(await tab.user.new_chat())
            await ask(tab)
            await tab.asked()
            for chunk in chunks:
                await tab.chunk(chunk)
            end = await tab.ended()
            assert (end["type"], end["code"]) == ("error", code)
            expired = await tab.wire.event(tab.stream, "call_expired")
            assert expired["data"]["data"]["reason"] == "timeout"


# -------------------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize("session_id", [None, "", 5, "x" * 201], ids=str)
async def test_a_direct_model_without_a_tab_is_refused_before_anything_is_written(tab: Tab, session_id: Any) -> None:
    before = (await tab.user.get(f"/api/v1/chats/{tab.chat_id}")).json()["version"]
    body = {"model": "m", "model_item": MODEL_ITEM, "chat_id": tab.chat_id, "id": str(uuid4()), "session_id": session_id}
    answer = await tab.user.post("/api/chat/completions", {**body, "messages": [{"role": "user", "content": "Hello"}]})
    assert answer.status_code == 400, answer.text
    assert (await tab.user.get(f"/api/v1/chats/{tab.chat_id}")).json()["version"] == before


@pytest.mark.parametrize("item", [{"direct": False}, {"direct": "yes"}, {"direct": 1}, [], "direct", None], ids=str)
async def test_a_model_item_that_does_not_say_direct_changes_nothing(tab: Tab, item: Any) -> None:
    await ask(tab, model="demo:3", model_item=item)
    assert (await tab.ended())["type"] == "message_end"
    assert "call" not in tab.types()


async def test_direct_connections_can_be_switched_off(settings: Settings, serving: Serving) -> None:
    async with serving(msgspec.structs.replace(settings, direct_connections=False)) as server:
        user = await server.sign_up()
        body = {"model": "my-model", "model_item": MODEL_ITEM, "session_id": "tab", "messages": [{"role": "user", "content": "Hello"}]}
        answer = await user.post("/api/chat/completions", body)
        assert (answer.status_code, answer.json().get("param")) == (400, "model_item"), answer.text


async def test_a_chunk_that_is_larger_than_a_frame_ends_the_connection_and_not_the_answer(server: Running, tab: Tab) -> None:
    await ask(tab)
    await tab.asked()
    await tab.wire.say(op="chunk", call_id=tab.call_id, seq=0, data="x" * 70_000)
    assert await tab.wire.closed() == 1009
    again = await opened(server, tab.user)
    await again.follow(tab.chat_id)
    await again.asked()
    await again.relay(piece("x" * 50_000), END, DONE)
    assert len((await again.ended())["content"]) == 50_000


async def test_chunks_of_several_tabs_at_once_lose_nothing(server: Running, tab: Tab) -> None:
    """Two tabs of one person send the same answer: each chunk counts once, whoever brings it first."""
    other = await opened(server, tab.user)
    await ask(tab)
    await tab.asked()
    other.call_id = tab.call_id
    chunks = [piece(f"{number} ") for number in range(30)]

    async def send(one: Tab) -> None:
        for seq, chunk in enumerate(chunks):
            assert (await one.chunk(chunk, seq=seq))["op"] == "chunk_ok"

    await asyncio.gather(send(tab), send(other))
    tab.seq = len(chunks)
    await tab.relay(END, DONE)
    assert (await tab.ended())["content"] == "".join(f"{number} " for number in range(30))
