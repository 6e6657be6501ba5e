"""Answers that were cut off are continued: what the provider is sent, what is stored, and what every reader then sees."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from api.settings import Settings
from domain.log.event import StoredEvent
from domain.verify.finding import LogRow
from tests.adapters.providers.scripted import DONE, said, serving
from tests.api.completions.test_openai import provider, with_provider
from tests.api.completions.test_turns import MODEL, There, assistant, user
from tests.api.conftest import Running, User, running
from tests.domain.test_verify import verified

pytestmark = pytest.mark.anyio


@pytest.fixture
async def there(settings: Settings) -> AsyncIterator[There]:
    async with (
        serving(provider(said("half an", "length") + DONE)) as upstream,
        running(with_provider(settings, upstream.url)) as server,
    ):
        yield There(server, await server.sign_up(), upstream)


async def cut_off(there: There) -> tuple[str, str]:
    """``(chat id, message id)`` of an answer that reached its limit."""
    chat_id = await there.chat({"title": "t"})
    begun = await there.complete(chat_id=chat_id, session_id="s", messages=[user("Write")])
    return chat_id, begun["message_id"]


async def go_on(there: There, chat_id: str, message_id: str, **body: Any) -> Any:
    answer = await there.user.post(f"/api/v1/chats/{chat_id}/messages/{message_id}/continue", body)
    assert answer.status_code == 200, answer.text
    for run in there.server.system.runs.all():
        await run.wait()
    return answer.json()


async def test_the_new_answer_stands_beside_the_old_one_and_begins_with_its_text(there: There) -> None:
    chat_id, old_id = await cut_off(there)
    begun = await go_on(there, chat_id, old_id)
    assert there.sent["messages"] == [user("Write"), assistant("half an")]
    question, old, new = await there.messages(chat_id)
    assert new["id"] == begun["message_id"]
    assert (new["parentId"], old["parentId"], question["childrenIds"]) == (question["id"], question["id"], [old_id, new["id"]])
    assert (new["content"], old["content"], new["continues"], new["model"]) == ("half anhalf an", "half an", old_id, MODEL)
    assert [(block["name"], block["text"]) for block in new["blocks"]] == [("continued", "half an"), (None, "half an")]
    assert (await there.user.get(f"/api/v1/chats/{chat_id}")).json()["chat"]["history"]["currentId"] == new["id"]


async def test_a_continued_answer_is_continued_again(there: There) -> None:
    chat_id, old_id = await cut_off(there)
    second = await go_on(there, chat_id, old_id)
    await go_on(there, chat_id, second["message_id"])
    assert there.sent["messages"] == [user("Write"), assistant("half anhalf an")]
    assert (await there.messages(chat_id))[-1]["content"] == "half an" * 3


async def test_the_log_of_a_continued_answer_is_whole(there: There) -> None:
    chat_id, old_id = await cut_off(there)
    await go_on(there, chat_id, old_id)
    events = await there.server.system.log.read_log(after=0, limit=1000)
    assert verified([row_of(stored) for stored in events]).findings == []


def row_of(stored: StoredEvent) -> LogRow:
    message_id = stored.message_id.bytes if stored.message_id is not None else None
    at_us = round(stored.at.timestamp() * 1_000_000)
    of_stream = stored.version, stored.stream.id.bytes, at_us, stored.stream.kind
    return LogRow(stored.position, *of_stream, message_id, stored.actor, stored.type, stored.data)


async def test_the_chat_is_read_as_it_was_at_each_version(there: There) -> None:
    chat_id, old_id = await cut_off(there)
    begun = await go_on(there, chat_id, old_id)
    path = f"/api/v1/chats/{chat_id}"
    before = (await there.user.get(path, at=there.server.cursor(begun["version"]))).json()["chat"]["history"]
    assert before["currentId"] == old_id
    now = (await there.user.get(path)).json()
    as_of_now = (await there.user.get(path, at=there.server.cursor(now["version"]))).json()
    assert as_of_now["chat"]["history"] == now["chat"]["history"]


async def test_an_answer_is_continued_as_open_webui_asks_for_it(there: There) -> None:
    chat_id, old_id = await cut_off(there)
    asked = {
        "id": old_id,
        "assistant_message_id": old_id,
        "chat_id": chat_id,
        "session_id": "s",
        "messages": [{"role": "user", "content": "x"}],
    }
    begun = await there.complete(**asked)
    assert there.sent["messages"] == [user("Write"), assistant("half an")]
    new = (await there.messages(chat_id))[-1]
    assert (new["id"], new["continues"], new["content"]) == (begun["message_id"], old_id, "half anhalf an")


async def test_the_stream_of_a_continued_answer_is_its_whole_text(there: There) -> None:
    chat_id, old_id = await cut_off(there)
    answer = await there.user.post(f"/api/v1/chats/{chat_id}/messages/{old_id}/continue", {"stream": True})
    lines = [msgspec.json.decode(line[6:]) for line in answer.text.splitlines() if line.startswith("data: {")]
    assert "".join(choice["delta"].get("content", "") for line in lines for choice in line["choices"]) == "half anhalf an"


async def test_a_request_that_is_repeated_continues_once(there: There) -> None:
    chat_id, old_id = await cut_off(there)
    path, key = f"/api/v1/chats/{chat_id}/messages/{old_id}/continue", {"Idempotency-Key": "k"}
    first, second = [(await there.user.post(path, {}, **key)).json() for _ in range(2)]
    assert first == second
    assert len(await there.messages(chat_id)) == 3


async def test_the_key_of_a_new_answer_may_be_the_clients(there: There) -> None:
    chat_id, old_id = await cut_off(there)
    new_id = str(uuid4())
    assert (await go_on(there, chat_id, old_id, id=new_id))["message_id"] == new_id


async def test_an_answer_that_a_person_has_edited_is_continued_from_what_it_says_now(there: There) -> None:
    chat_id, old_id = await cut_off(there)
    await there.user.post(f"/api/v1/chats/{chat_id}/messages/{old_id}", {"content": "another half"})
    await go_on(there, chat_id, old_id)
    assert there.sent["messages"] == [user("Write"), assistant("another half")]


@pytest.fixture
async def ada(server: Running) -> User:
    return await server.sign_up()


async def refusal(who: User, chat_id: str, message_id: str, **body: Any) -> tuple[int, str]:
    answer = await who.post(f"/api/v1/chats/{chat_id}/messages/{message_id}/continue", body)
    return answer.status_code, answer.json()["code"]


async def test_what_is_no_ended_answer_with_text_is_not_continued(server: Running, ada: User) -> None:
    chat_id = await ada.new_chat()
    begun = await ada.ask(chat_id, "demo:slow")
    assert await refusal(ada, chat_id, begun["message_id"]) == (409, "generation_open")
    await ada.post(f"/api/tasks/chat/{chat_id}/stop")
    assert await refusal(ada, chat_id, begun["message_id"]) == (400, "bad_request"), "it has said nothing"
    question = (await ada.add(chat_id, "Hello"))["message_id"]
    assert await refusal(ada, chat_id, question, model="demo") == (400, "bad_request")
    assert await refusal(ada, chat_id, str(uuid4()), model="demo") == (404, "message_not_found")
    stranger = await server.sign_up("Bob")
    assert await refusal(stranger, chat_id, begun["message_id"], model="demo") == (401, "chat_not_found")


async def test_a_reader_does_not_continue(server: Running, ada: User) -> None:
    chat_id = await ada.new_chat()
    begun = await ada.ask(chat_id, "demo:3")
    for run in server.system.runs.all():
        await run.wait()
    reader = await server.sign_up("Bob")
    await ada.post(f"/api/v1/chats/{chat_id}/access", {"user_id": reader.id, "permission": "read"})
    assert await refusal(reader, chat_id, begun["message_id"]) == (401, "chat_not_found")
    assert await refusal(ada, chat_id, begun["message_id"], model="no such") == (400, "model_not_found")


async def test_a_stopped_answer_is_continued_by_another_model(server: Running, ada: User) -> None:
    chat_id = await ada.new_chat()
    begun = await ada.ask(chat_id, "demo:1000")
    while not (await ada.get(f"/api/v1/streams/chat/{chat_id}/events", types="message_delta", live="long-poll")).json()["events"]:
        pass
    await ada.post(f"/api/tasks/stop/{begun['task_id']}")
    answer = await ada.post(f"/api/v1/chats/{chat_id}/messages/{begun['message_id']}/continue", {"model": "demo:3"})
    assert answer.status_code == 200, answer.text
    for run in server.system.runs.all():
        await run.wait()
    messages = (await ada.get(f"/api/v1/chats/{chat_id}")).json()["chat"]["history"]["messages"]
    old, new = messages[begun["message_id"]], messages[answer.json()["message_id"]]
    assert (old["state"], new["state"], new["model"]) == ("cancelled", "done", "demo:3")
    assert new["content"].startswith(old["content"])
    assert len(new["content"]) > len(old["content"])


async def test_an_answer_is_regenerated_by_another_model(server: Running, ada: User) -> None:
    chat_id = await ada.new_chat()
    begun = await ada.ask(chat_id, "demo:3")
    messages = (await ada.get(f"/api/v1/chats/{chat_id}")).json()["chat"]["history"]["messages"]
    question = messages[begun["message_id"]]["parentId"]
    by_page = {"user_message": {**messages[question], "childrenIds": ["x"]}, "parent_id": None}
    for more in ({"parent_id": question, "messages": []}, by_page):
        again = await ada.ask(chat_id, "demo:4", **more)
        for run in server.system.runs.all():
            await run.wait()
        known = (await ada.get(f"/api/v1/chats/{chat_id}")).json()["chat"]["history"]["messages"]
        answer = known[again["message_id"]]
        assert (answer["parentId"], answer["model"], answer["state"]) == (question, "demo:4", "done")
        assert sum(message["role"] == "user" for message in known.values()) == 1


async def test_a_transcript_has_no_seam_where_an_answer_was_continued(there: There) -> None:
    chat_id, old_id = await cut_off(there)
    await go_on(there, chat_id, old_id)
    for form in ("markdown", "html"):
        transcript = await there.user.get(f"/api/v1/chats/{chat_id}/export", format=form)
        assert "half anhalf an" in transcript.text


async def test_a_continued_answer_is_copied_exported_and_resumed_like_any_other(there: There) -> None:
    chat_id, old_id = await cut_off(there)
    begun = await go_on(there, chat_id, old_id)
    copy_id = (await there.user.post(f"/api/v1/chats/{chat_id}/clone", {})).json()["id"]
    copied = (await there.user.get(f"/api/v1/chats/{copy_id}")).json()["chat"]["history"]["messages"][begun["message_id"]]
    assert (copied["content"], copied["continues"]) == ("half anhalf an", old_id)
    events = (await there.user.get(f"/api/v1/streams/chat/{chat_id}/events", after=there.server.cursor(begun["version"]))).json()["events"]
    assert [event["data"]["type"] for event in events] == [
        "message_start", "content_block", "message_delta", "content_block", "message_delta", "message_end",
    ]  # fmt: skip
    assert events[0]["data"]["data"]["continues"] == old_id
    lines = (await there.user.get(f"/api/v1/chats/{chat_id}/export", format="jsonl")).text
    assert f'"continues":"{old_id}"' in lines
