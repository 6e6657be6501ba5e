"""What a model was sent: its hash in the log, the payload itself where it is kept, and who reads it."""

import hashlib
import json
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import msgspec
import pytest

from api.settings import Settings
from tests.adapters.providers.scripted import DONE, said, serving
from tests.api.completions.test_openai import provider, with_provider
from tests.api.completions.test_turns import MODEL, There, user
from tests.api.conftest import User, running

pytestmark = pytest.mark.anyio


@pytest.fixture(params=[True, False], ids=["kept", "noted"])
async def there(settings: Settings, request: Any) -> AsyncIterator[There]:
    async with serving(provider(said("42", "stop") + DONE)) as upstream:
        own = msgspec.structs.replace(
            with_provider(settings, upstream.url), keep_payloads=request.param, default_params={"temperature": 0.5}
        )
        async with running(own) as server:
            yield There(server, await server.sign_up(), upstream)


def is_kept(there: There) -> bool:
    return bool(there.server.system.settings.keep_payloads)


async def asked(there: There, content: str = "Hi", **more: Any) -> tuple[str, str]:
    chat_id = await there.chat({"title": "t"})
    return chat_id, (await there.complete(chat_id=chat_id, session_id="s", messages=[user(content)], **more))["message_id"]


async def payload(who: User, chat_id: str, message_id: str) -> Any:
    answer = await who.get(f"/api/v1/chats/{chat_id}/messages/{message_id}/payload")
    assert answer.status_code == 200, answer.text
    return answer.json()


async def start_of(who: User, chat_id: str) -> dict[str, Any]:
    events = (await who.get(f"/api/v1/streams/chat/{chat_id}/events", types="message_start")).json()["events"]
    return dict(events[-1]["data"]["data"])


async def test_the_hash_is_that_of_what_the_provider_was_asked(there: There) -> None:
    chat_id, message_id = await asked(there, "Wie geht's, Ü?", params={"seed": 7}, service_tier="flex")
    expected = {
        "model": MODEL,
        "messages": [user("Wie geht's, Ü?")],
        "options": {"temperature": 0.5, "seed": 7},
        "params": {"service_tier": "flex"},
    }
    canonical = json.dumps(expected, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    digest = hashlib.sha256(canonical).hexdigest()
    found = await payload(there.user, chat_id, message_id)
    assert found == {
        "sha256": digest,
        "size_bytes": len(canonical) if is_kept(there) else None,
        "payload": expected if is_kept(there) else None,
        "redacted": False,
    }
    start = await start_of(there.user, chat_id)
    assert start["payload_sha256"] == digest
    reference = {"blob": digest, "size_bytes": len(canonical), "media_type": "application/json"}
    assert start.get("payload") == (reference if is_kept(there) else None)


async def test_a_kept_payload_does_not_count_against_quotas(there: There) -> None:
    chat_id, _ = await asked(there)
    events = await there.server.system.log.read_log(after=0, limit=1000)
    await there.server.settled()
    used, _ = await there.server.system.usage_book.usage_of(UUID(there.user.id))
    assert used.bytes == sum(len(stored.data) for stored in events if str(stored.stream) == f"chat/{chat_id}")


async def test_deleted_words_are_not_read_through_a_payload_by_who_came_later(there: There) -> None:
    chat_id, message_id = await asked(there, "the secret word")
    question = (await there.messages(chat_id))[0]["id"]
    before, after = await there.server.sign_up("Bob"), await there.server.sign_up("Eve")
    await there.user.post(f"/api/v1/chats/{chat_id}/access", {"user_id": before.id, "permission": "read"})
    known = await payload(before, chat_id, message_id)
    assert known == await payload(there.user, chat_id, message_id)
    await there.user.post(f"/api/v1/chats/{chat_id}/messages/{question}", {"content": "another word"})
    await there.user.post(f"/api/v1/chats/{chat_id}/access", {"user_id": after.id, "permission": "read"})
    assert await payload(before, chat_id, message_id) == known, "read before it was replaced"
    hidden = await payload(after, chat_id, message_id)
    assert hidden == {"sha256": None, "size_bytes": None, "payload": None, "redacted": True}
    start = await start_of(after, chat_id)
    assert not {"payload", "payload_sha256"} & start.keys()
    exported = (await after.get(f"/api/v1/chats/{chat_id}/export", format="jsonl")).text
    assert "secret" not in exported
    assert known["sha256"] not in exported


async def test_a_stranger_and_a_message_that_no_model_wrote_have_none(there: There) -> None:
    chat_id, message_id = await asked(there)
    question = (await there.messages(chat_id))[0]["id"]
    stranger = await there.server.sign_up("Bob")
    path = f"/api/v1/chats/{chat_id}/messages"
    assert (await stranger.get(f"{path}/{message_id}/payload")).status_code == 401
    assert (await there.user.get(f"{path}/{question}/payload")).json()["code"] == "message_not_found"


async def test_each_of_several_models_has_a_payload_of_its_own(there: There) -> None:
    chat_id = await there.chat({"title": "t"})
    await there.complete(chat_id=chat_id, session_id="s", messages=[user("Hi")], message_ids=[{"model_id": MODEL, "message_id": None}] * 2)
    answers = [message["id"] for message in await there.messages(chat_id) if message["role"] == "assistant"]
    first, second = [await payload(there.user, chat_id, one) for one in answers]
    assert first == second
