"""Actions: what they return and emit, who may run them on which message, and what the log says of it."""

import hashlib
from typing import Any
from uuid import UUID, uuid4

import msgspec
import pytest

from commands.functions.actions import Actions, action_items, filter_items
from commands.functions.functions import Sub
from commands.ports import CommandKey
from domain.chat.commands import DeleteMessage, ShareChat
from domain.errors import (
    ActionNotAvailable,
    ActionNotFound,
    BadRequest,
    ChatNotFound,
    CommandMismatch,
    FunctionFailed,
    MessageNotFound,
    ModelNotFound,
    StenographError,
)
from domain.generation import ActionRan
from domain.log.event import Actor, Emitted, StoredEvent
from tests.commands.routing.functions import TestFunctions
from tests.commands.world import ME, SOMEBODY, World

pytestmark = pytest.mark.anyio

ADMIN = Actor(uuid4(), "Admin", "admin")


class There:
    def __init__(self) -> None:
        self.world = World()
        self.functions = TestFunctions()
        self.meta: dict[str, Any] = {}
        self.actions = Actions(self.functions, self.world.log, self.world.chats, self.world.log.blobs, self.model_of)

    def events(self) -> list[StoredEvent]:
        """Of the only chat."""
        ((_, events),) = ((stream, events) for stream, events in self.world.log._streams.items() if stream.kind == "chat")
        return events

    async def model_of(self, model: str, _: Actor) -> dict[str, Any]:
        if model != "demo":
            raise ModelNotFound(model)
        return {"id": "demo", "name": "Demo", "info": {"meta": self.meta}}

    async def place(self) -> dict[str, Any]:
        chat_id = await self.world.chat()
        message_id = await self.world.message(chat_id, "x")
        return {"model": "demo", "chat_id": str(chat_id), "id": str(message_id), "session_id": "tab", "messages": []}


@pytest.fixture
def there() -> There:
    return There()


async def test_what_an_action_returns_is_the_response_and_what_it_emits_is_stored(there: There) -> None:
    async def action(body: dict[str, Any], context: Any) -> Any:
        await context.emit("log", {"message": "running"})
        await context.emit("replace", {"content": "replaced"})
        return {"echo": body["messages"], "by": context.actor.name, "sub": context.sub_id, "model": context.model["name"]}

    there.functions.add("foo", "action", action=action)
    body = await there.place()
    assert await there.actions.run("foo.bar", body, ME) == {"echo": [], "by": "Me", "sub": "bar", "model": "Demo"}
    events = there.events()
    assert [one.type for one in events[-3:]] == ["log", "replace", "action_ran"]
    assert all(one.actor is not None and str(ME.id).encode() in one.actor for one in events[-3:])
    view = there.world.log.view(events[0].stream.id)
    assert view.messages[body["id"]]["content"] == "replaced"
    ran = there.world.log.of(events[0].stream.id)[-1].data
    kept = await there.world.log.blobs.get(events[0].stream, ran.result["blob"])
    assert kept is not None
    assert msgspec.json.decode(kept) == {"echo": [], "by": "Me", "sub": "bar", "model": "Demo"}
    assert (ran.action_id, ran.source_sha256, ran.emitted, ran.failed) == ("foo.bar", "5" * 64, 2, None)
    assert ran.result["blob"] == hashlib.sha256(kept).hexdigest()


async def test_an_action_that_raises_is_an_error_with_its_name_and_is_noted(there: There) -> None:
    def action(_: Any, __: Any) -> Any:
        raise RuntimeError("broken")

    there.functions.add("foo", "action", action=action)
    body = await there.place()
    with pytest.raises(FunctionFailed, match="function foo: RuntimeError: broken"):
        await there.actions.run("foo", body, ME)
    events = there.events()
    ran = there.world.log.of(events[0].stream.id)[-1].data
    assert ran == ActionRan("foo", "5" * 64, 0, None, "function foo: RuntimeError: broken")


@pytest.mark.parametrize("returned", [object(), {"x": object()}])
async def test_what_is_not_json_is_said(there: There, returned: Any) -> None:
    there.functions.add("foo", "action", action=lambda _, __: returned)
    with pytest.raises(FunctionFailed, match="function foo: action returned what is not JSON"):
        await there.actions.run("foo", {"model": "demo"}, ME)


@pytest.mark.parametrize(
    ("action_id", "error", "said"),
    [
        ("a.b.c", BadRequest, "expected an action as id or id.sub, received 'a.b.c'"),
        (".b", BadRequest, "expected an action"),
        ("foo.", BadRequest, "expected an action"),
        ("none.x", ActionNotFound, "Action not found: none"),
        ("filter", ActionNotAvailable, "Action not available: filter"),
        ("hidden", ActionNotAvailable, "Action not available: hidden"),
    ],
)
async def test_an_action_that_there_is_not_is_refused(there: There, action_id: str, error: type[StenographError], said: str) -> None:
    ran: list[Any] = []
    there.functions.add("foo", "action", action=lambda body, _: ran.append(body))
    there.functions.add("hidden", "action", is_global=False, action=lambda body, _: ran.append(body))
    there.functions.add("filter", inlet=lambda body: body)
    with pytest.raises(error, match=said):
        await there.actions.run(action_id, {"model": "demo"}, ME)
    assert not ran


async def test_an_action_of_one_model_runs_where_the_model_offers_it_and_for_admins(there: There) -> None:
    there.functions.add("foo", "action", is_global=False, action=lambda _, __: "ran")
    assert await there.actions.run("foo", {"model": "demo"}, ADMIN) == "ran"
    there.meta = {"actionIds": ["foo"]}
    assert await there.actions.run("foo", {"model": "demo"}, ME) == "ran"


async def test_a_model_that_there_is_not_is_refused_unless_the_tab_asks_it_itself(there: There) -> None:
    there.functions.add("foo", "action", is_global=False, action=lambda _, context: context.model["id"])
    with pytest.raises(ModelNotFound):
        await there.actions.run("foo", {"model": "none"}, ME)
    with pytest.raises(BadRequest, match="expected model as text"):
        await there.actions.run("foo", {}, ME)
    item = {"id": "mine", "direct": True}
    assert await there.actions.run("foo", {"model": "mine", "model_item": item}, ME) == "mine"


async def test_an_action_runs_in_chats_that_its_person_may_write(there: There) -> None:
    there.functions.add("foo", "action", action=lambda _, __: "ran")
    body = await there.place()
    with pytest.raises(ChatNotFound):
        await there.actions.run("foo", body, SOMEBODY)
    with pytest.raises(ChatNotFound):
        await there.actions.run("foo", {**body, "chat_id": "x local:"}, ME)
    with pytest.raises(BadRequest, match="that of a channel"):
        await there.actions.run("foo", {**body, "chat_id": "channel:1"}, ME)
    with pytest.raises(BadRequest, match="expected chat_id as text or null"):
        await there.actions.run("foo", {**body, "chat_id": 5}, ME)
    for free in (None, "", "local:x", "temporary:x"):
        assert await there.actions.run("foo", {**body, "chat_id": free}, SOMEBODY) == "ran"
    stream = there.events()[0].stream
    share = ShareChat(chat_id=stream.id, by=ME.id, user_id=SOMEBODY.id, permission="write")
    await there.world.chats.handle(share, actor=ME)
    assert await there.actions.run("foo", body, SOMEBODY) == "ran"
    await there.world.chats.handle(ShareChat(chat_id=stream.id, by=ME.id, user_id=SOMEBODY.id, permission="read"), actor=ME)
    with pytest.raises(ChatNotFound):
        await there.actions.run("foo", body, SOMEBODY)


async def test_an_admin_runs_actions_in_chats_of_others_and_the_log_names_them(there: There) -> None:
    async def action(_: Any, context: Any) -> Any:
        await context.emit("status", {"description": "x"})

    there.functions.add("foo", "action", action=action)
    body = await there.place()
    assert await there.actions.run("foo", body, ADMIN) is None
    events = there.events()
    assert [(one.type, str(ADMIN.id).encode() in (one.actor or b"")) for one in events[-2:]] == [("status", True), ("action_ran", True)]


async def test_a_message_that_the_chat_does_not_have_is_refused_before_the_action_runs(there: There) -> None:
    ran: list[Any] = []
    there.functions.add("foo", "action", action=lambda body, _: ran.append(body))
    body = await there.place()
    with pytest.raises(MessageNotFound):
        await there.actions.run("foo", {**body, "id": str(uuid4())}, ME)
    stream = there.events()[0].stream
    deleted = DeleteMessage(chat_id=stream.id, by=ME.id, message_id=UUID(body["id"]))
    await there.world.chats.handle(deleted, actor=ME)
    with pytest.raises(MessageNotFound):
        await there.actions.run("foo", body, ME)
    assert not ran


async def test_a_reserved_name_is_refused_to_the_function(there: There) -> None:
    async def action(_: Any, context: Any) -> Any:
        await context.emit("message_end", {})

    there.functions.add("foo", "action", action=action)
    with pytest.raises(FunctionFailed, match="expected an emitted type that is not one of the log's own"):
        await there.actions.run("foo", await there.place(), ME)


async def test_a_repeated_request_gets_the_first_result_and_runs_nothing(there: There) -> None:
    ran: list[Any] = []
    there.functions.add("foo", "action", action=lambda _, __: ran.append(1) or {"count": len(ran)})
    for body in (await there.place(), {"model": "demo"}):
        ran.clear()
        key = CommandKey(ME.id, str(uuid4()), b"hash")
        assert [await there.actions.run("foo", body, ME, key=key) for _ in range(2)] == [{"count": 1}, {"count": 1}]
        assert ran == [1]
        with pytest.raises(CommandMismatch):
            await there.actions.run("foo", body, ME, key=CommandKey(ME.id, key.key, b"other"))


class Page:
    status_code, media_type, body = 200, "text/html", b"<b>x</b>"


@pytest.mark.parametrize(
    ("returned", "result"),
    [
        (Page(), {"status": "success", "code": "ui_component", "message": "foo: the page is shown to the user"}),
        ((Page(), {"rows": 3}), {"rows": 3}),
    ],
)
async def test_a_page_becomes_an_embed_of_the_message(there: There, returned: Any, result: Any) -> None:
    there.functions.add("foo", "action", action=lambda _, __: returned)
    assert await there.actions.run("foo", await there.place(), ME) == result
    events = there.events()
    facts = [event.data for event in there.world.log.of(events[0].stream.id)]
    assert facts[-2] == Emitted("embeds", {"embeds": ["<b>x</b>"]})


def test_a_models_buttons_are_listed_by_priority_and_those_of_one_action_in_their_order(there: There) -> None:
    run: Any = lambda _, __: None  # noqa: E731
    subs = [Sub("two", "Two", "icon"), Sub("one", "foo (one)")]
    there.functions.add("foo", "action", priority=1, action=run, subs=subs, icon="own", meta={"description": "d"})
    there.functions.add("last", "action", priority=2, action=run)
    there.functions.add("first", "action", action=run)
    there.functions.add("of-a-model", "action", is_global=False, action=run)
    assert [one["id"] for one in action_items(there.functions, {})] == ["first", "foo.two", "foo.one", "last"]
    assert action_items(there.functions, {"actionIds": ["of-a-model"]})[1]["id"] == "of-a-model"
    assert action_items(there.functions, {})[1:3] == [
        {"id": "foo.two", "name": "Two", "description": "d", "icon": "icon"},
        {"id": "foo.one", "name": "foo (one)", "description": "d", "icon": "own"},
    ]


def test_a_models_filters_are_listed_where_they_can_be_switched_on(there: There) -> None:
    there.functions.add("always", inlet=lambda body: body)
    there.functions.add("toggle", has_toggle=True, inlet=lambda body: body)
    there.functions.add("other", has_toggle=True, is_global=False, inlet=lambda body: body)
    assert [one["id"] for one in filter_items(there.functions, {})] == ["toggle"]
    assert [one["id"] for one in filter_items(there.functions, {"filterIds": ["other"]})] == ["other", "toggle"]
