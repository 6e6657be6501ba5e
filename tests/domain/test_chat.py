"""What can happen in a chat: given these events, when this command, then those events. Each rule three times where it applies:
it happens, it is refused, it is already so."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given as for_all
from hypothesis import strategies
from msgspec.structs import replace

from domain.chat.commands import (
    AddMessage,
    ArchiveChat,
    ChatCommand,
    ConfigureChat,
    CreateChat,
    DeleteChat,
    DeleteMessage,
    EditMessage,
    Emit,
    ExpectUnchanged,
    LeaveChat,
    MoveChat,
    NotePlugin,
    PinChat,
    RateMessage,
    RenameChat,
    SelectBranch,
    ShareChat,
    TagChat,
)
from domain.chat.decide import decide, decide_all
from domain.chat.evolve import evolve
from domain.chat.facts import (
    RESERVED,
    BranchSelected,
    ChatArchived,
    ChatConfigured,
    ChatCreated,
    ChatDeleted,
    ChatEvent,
    ChatMoved,
    ChatPinned,
    ChatRenamed,
    ChatShared,
    ChatTagged,
    ChatUnarchived,
    ChatUnpinned,
    ChatUnshared,
    ChatUntagged,
    MessageAdded,
    MessageDeleted,
    MessageEdited,
    MessageRated,
)
from domain.chat.state import EMPTY, Chat
from domain.errors import (
    BadRequest,
    BlockGap,
    ChatChanged,
    ChatExists,
    ChatNotFound,
    DeltaGap,
    GenerationNotOpen,
    GenerationOpen,
    MessageExists,
    MessageNotFound,
    ParentNotFound,
    Refusal,
)
from domain.generation import (
    ActionRan,
    AppendParts,
    BlockOpened,
    EndGeneration,
    FilterApplied,
    GenerationCancelled,
    GenerationFailed,
    GenerationInterrupted,
    MessageDelta,
    MessageStarted,
    StartGeneration,
)
from domain.log.event import Emitted, Event
from tests.domain.histories import CHAT, FEW, NODE, OWNER, READER, STRANGER, WRITER, History, ended, histories

Q, A, B, Q2, A2, OTHER = (UUID(int=number) for number in range(1, 7))
TASK, FOLDER = UUID(int=0xE0), UUID(int=0xF0)


def fold(events: Sequence[ChatEvent]) -> Chat:
    chat = EMPTY
    for version, event in enumerate(events, 1):
        chat = evolve(chat, event, version)
    return chat


@dataclass(frozen=True)
class Given:
    events: Sequence[ChatEvent]

    def when(self, *commands: ChatCommand) -> "When":
        return When(self.events, commands)


@dataclass(frozen=True)
class When:
    events: Sequence[ChatEvent]
    commands: Sequence[ChatCommand]

    def then(self, *expected: ChatEvent) -> Given:
        """Returns what is given now, for a second step."""
        assert decide_all(fold(self.events), self.commands, len(self.events)) == list(expected)
        return Given([*self.events, *expected])

    def then_raises(self, refusal: type[Refusal]) -> Refusal:
        with pytest.raises(refusal) as raised:
            decide_all(fold(self.events), self.commands, len(self.events))
        return raised.value


def given(*events: ChatEvent) -> Given:
    return Given(events)


CREATED: ChatEvent = Event(None, ChatCreated(OWNER, "a title"))
READ_SHARED: ChatEvent = Event(None, ChatShared(READER, "read"))
WRITE_SHARED: ChatEvent = Event(None, ChatShared(WRITER, "write"))
DELETED: ChatEvent = Event(None, ChatDeleted())


def asked(message_id: UUID, parent_id: UUID | None = None, role: Any = "user") -> ChatEvent:
    return Event(message_id, MessageAdded(parent_id, role, "hello"))


def started(message_id: UUID, parent_id: UUID | None = None) -> ChatEvent:
    return Event(message_id, MessageStarted(parent_id, "demo", "demo", TASK, NODE))


def opened(message_id: UUID, index: int = 0) -> ChatEvent:
    return Event(message_id, BlockOpened(index, "text"))


def said(message_id: UUID, text: str, index: int = 0) -> ChatEvent:
    return Event(message_id, MessageDelta(index, text))


def over(message_id: UUID) -> ChatEvent:
    return Event(message_id, ended("Hello"))


STREAMING = (CREATED, asked(Q), started(A, Q), opened(A), said(A, "Hel"))
ANSWERED = (CREATED, asked(Q), started(A, Q), opened(A), said(A, "Hello"), over(A))


def create(by: UUID = OWNER) -> CreateChat:
    return CreateChat(chat_id=CHAT, by=by, title="a title")


def add(message_id: UUID, parent_id: UUID | None = None, by: UUID | None = OWNER, **fields: Any) -> AddMessage:
    return AddMessage(chat_id=CHAT, by=by, message_id=message_id, parent_id=parent_id, role="user", content="hello", fields=fields)


def start(message_id: UUID, parent_id: UUID | None = None, by: UUID = OWNER, *, fills: bool = False) -> StartGeneration:
    return StartGeneration(
        stream_id=CHAT,
        by=by,
        message_id=message_id,
        parent_id=parent_id,
        model="demo",
        requested_model="demo",
        task_id=TASK,
        node_id=NODE,
        fills=fills,
    )


def parts(message_id: UUID, seq: int, *pieces: BlockOpened | MessageDelta) -> AppendParts:
    return AppendParts(stream_id=CHAT, message_id=message_id, seq=seq, parts=pieces)


def delta(text: str, index: int = 0) -> MessageDelta:
    return MessageDelta(index, text)


def end(message_id: UUID, outcome: Any = None, by: UUID | None = None) -> EndGeneration:
    return EndGeneration(stream_id=CHAT, message_id=message_id, outcome=outcome or ended("Hello"), by=by)


def edit(message_id: UUID, by: UUID = OWNER, **fields: Any) -> EditMessage:
    return EditMessage(chat_id=CHAT, by=by, message_id=message_id, fields=fields)


def delete(message_id: UUID, by: UUID = OWNER) -> DeleteMessage:
    return DeleteMessage(chat_id=CHAT, by=by, message_id=message_id)


def select(message_id: UUID) -> SelectBranch:
    return SelectBranch(chat_id=CHAT, by=OWNER, message_id=message_id)


def rename(title: str, by: UUID | None = OWNER) -> RenameChat:
    return RenameChat(chat_id=CHAT, by=by, title=title)


def share(user_id: UUID, permission: Any, by: UUID = OWNER) -> ShareChat:
    return ShareChat(chat_id=CHAT, by=by, user_id=user_id, permission=permission)


# ------------------------------------------------------------------------------------------------------------- the chat


def test_a_chat_is_created() -> None:
    given().when(create()).then(CREATED)


def test_a_chat_is_not_created_twice() -> None:
    given(CREATED).when(create()).then_raises(ChatExists)


def test_a_deleted_chat_is_not_created_again() -> None:
    given(CREATED, DELETED).when(create()).then_raises(ChatExists)


def test_what_a_client_knows_of_its_chat_and_we_do_not_is_kept() -> None:
    command = CreateChat(chat_id=CHAT, by=OWNER, title="t", folder_id=FOLDER, client_id="mine", listed=False, fields={"models": ["demo"]})
    given().when(command).then(Event(None, ChatCreated(OWNER, "t", FOLDER, "mine", False, {"models": ["demo"]})))


def test_a_chat_is_renamed() -> None:
    given(CREATED).when(rename("new")).then(Event(None, ChatRenamed("new")))


def test_a_chat_that_is_not_there_is_not_renamed() -> None:
    given().when(rename("new")).then_raises(ChatNotFound)


def test_a_chat_that_has_the_name_already_is_left_alone() -> None:
    given(CREATED, Event(None, ChatRenamed("new"))).when(rename("new")).then()


def test_the_server_itself_may_rename_a_chat() -> None:
    given(CREATED).when(rename("a summary", by=None)).then(Event(None, ChatRenamed("a summary")))


def test_keys_of_the_chat_are_changed() -> None:
    command = ConfigureChat(chat_id=CHAT, by=OWNER, fields={"params": {"temperature": 0}})
    given(CREATED).when(command).then(Event(None, ChatConfigured({"params": {"temperature": 0}})))


def test_no_keys_change_nothing() -> None:
    given(CREATED).when(ConfigureChat(chat_id=CHAT, by=OWNER, fields={})).then()


PINNED: ChatEvent = Event(None, ChatPinned())
UNPINNED: ChatEvent = Event(None, ChatUnpinned())
ARCHIVED: ChatEvent = Event(None, ChatArchived())
UNARCHIVED: ChatEvent = Event(None, ChatUnarchived())
MOVED: ChatEvent = Event(None, ChatMoved(FOLDER))
TAGGED: ChatEvent = Event(None, ChatTagged("x"))
UNTAGGED: ChatEvent = Event(None, ChatUntagged("x"))


def test_a_chat_is_pinned_and_unpinned() -> None:
    pin, unpin = (PinChat(chat_id=CHAT, by=OWNER, pinned=pinned) for pinned in (True, False))
    given(CREATED).when(pin).then(PINNED).when(pin).then().when(unpin).then(UNPINNED).when(unpin).then()


def test_a_chat_is_archived_and_brought_back() -> None:
    archive, bring_back = (ArchiveChat(chat_id=CHAT, by=OWNER, archived=archived) for archived in (True, False))
    given(CREATED).when(archive).then(ARCHIVED).when(archive).then().when(bring_back).then(UNARCHIVED).when(bring_back).then()


def test_an_archived_chat_leaves_its_folder() -> None:
    given(CREATED, MOVED).when(ArchiveChat(chat_id=CHAT, by=OWNER, archived=True)).then(ARCHIVED, Event(None, ChatMoved(None)))


def test_a_chat_is_moved_into_a_folder_and_out_of_it() -> None:
    into, out = (MoveChat(chat_id=CHAT, by=OWNER, folder_id=folder_id) for folder_id in (FOLDER, None))
    given(CREATED).when(into).then(MOVED).when(into).then().when(out).then(Event(None, ChatMoved(None))).when(out).then()


def test_a_chat_is_taken_out_of_some_folders_only() -> None:
    for folders in ([FOLDER], frozenset({FOLDER, OTHER})):
        given(CREATED, MOVED).when(MoveChat(chat_id=CHAT, by=OWNER, folder_id=None, only_from=folders)).then(Event(None, ChatMoved(None)))
        given(CREATED, MOVED).when(DeleteChat(chat_id=CHAT, by=OWNER, only_from=folders)).then(DELETED)
    for events, elsewhere in (((CREATED, MOVED), [OTHER]), ((CREATED, MOVED), []), ((CREATED,), [FOLDER]), (STREAMING, [FOLDER])):
        given(*events).when(MoveChat(chat_id=CHAT, by=OWNER, folder_id=None, only_from=elsewhere)).then()
        given(*events).when(DeleteChat(chat_id=CHAT, by=OWNER, only_from=elsewhere)).then()
    given(CREATED, MOVED).when(DeleteChat(chat_id=CHAT, by=READER, only_from=[FOLDER])).then_raises(ChatNotFound)


def test_a_chat_is_tagged_and_untagged() -> None:
    tag, untag = (TagChat(chat_id=CHAT, by=OWNER, name="x", present=present) for present in (True, False))
    given(CREATED).when(tag).then(TAGGED).when(tag).then().when(untag).then(UNTAGGED).when(untag).then()


def test_a_chat_is_deleted() -> None:
    given(CREATED).when(DeleteChat(chat_id=CHAT, by=OWNER)).then(DELETED)


def test_a_chat_that_is_being_answered_is_not_deleted() -> None:
    given(*STREAMING).when(DeleteChat(chat_id=CHAT, by=OWNER)).then_raises(GenerationOpen)


def test_a_receiver_leaves_and_nobody_else() -> None:
    def leave(by: UUID) -> LeaveChat:
        return LeaveChat(chat_id=CHAT, by=by)

    for permission in ("read", "write"):
        given(CREATED).when(share(READER, permission)).then(Event(None, ChatShared(READER, permission))).when(leave(READER)).then(
            Event(None, ChatUnshared(READER))
        ).when(leave(READER)).then_raises(ChatNotFound)
    given(CREATED).when(leave(OWNER)).then_raises(BadRequest)
    given(CREATED).when(leave(STRANGER)).then_raises(ChatNotFound)


def test_access_begins_with_the_grant_and_not_with_another_permission() -> None:
    grants = [Event(None, ChatShared(READER, permission)) for permission in ("read", "write")]
    taken = Event(None, ChatUnshared(READER))
    events = [CREATED, *grants]
    state = fold(events)
    assert (state.access_since(READER), state.access_since(OWNER), state.access_since(STRANGER)) == (2, 0, 0)
    assert fold([*events, taken, grants[0]]).access_since(READER) == 5


def test_nothing_happens_in_a_deleted_chat() -> None:
    for command in (rename("x"), add(Q), start(A), end(A), select(Q), share(READER, "read"), DeleteChat(chat_id=CHAT, by=OWNER)):
        given(CREATED, asked(Q), DELETED).when(command).then_raises(ChatNotFound)
    given(CREATED, DELETED).when(rename("x", by=None)).then_raises(ChatNotFound)


def test_no_token_is_added_to_a_deleted_chat() -> None:
    given(*STREAMING, DELETED).when(parts(A, 1, delta("lo"))).then_raises(GenerationNotOpen)


def test_a_title_by_the_server_replaces_only_the_one_that_the_chat_was_made_with() -> None:
    by_server = RenameChat(chat_id=CHAT, by=None, title="ours", unless_renamed=True, task_chat_id=OTHER)
    given(CREATED).when(by_server).then(Event(None, ChatRenamed("ours", OTHER)))
    given(CREATED, Event(None, ChatRenamed("theirs"))).when(by_server).then()
    given(CREATED, Event(None, ChatRenamed("theirs")), Event(None, ChatRenamed("a title"))).when(by_server).then()
    given(CREATED, Event(None, ChatRenamed("ours", OTHER))).when(by_server).then()


def test_the_server_tags_a_chat_that_has_not_the_tag() -> None:
    by_server = TagChat(chat_id=CHAT, by=None, name="Birds", present=True, task_chat_id=OTHER)
    given(CREATED).when(by_server).then(Event(None, ChatTagged("Birds", OTHER)))
    given(CREATED, Event(None, ChatTagged("birds"))).when(by_server).then()


# --------------------------------------------------------------------------------------------------------------- access


def test_a_chat_is_shared() -> None:
    given(CREATED).when(share(READER, "read")).then(READ_SHARED)


def test_a_grant_is_changed() -> None:
    given(CREATED, READ_SHARED).when(share(READER, "write")).then(Event(None, ChatShared(READER, "write")))


def test_a_grant_is_taken_back() -> None:
    given(CREATED, READ_SHARED).when(share(READER, None)).then(Event(None, ChatUnshared(READER))).when(share(READER, None)).then()


def test_a_grant_that_is_given_already_changes_nothing() -> None:
    given(CREATED, READ_SHARED).when(share(READER, "read")).then()


def test_the_owner_needs_no_grant() -> None:
    given(CREATED).when(share(OWNER, "read")).then()
    given(CREATED).when(share(OWNER, None)).then()


OWNERS_ONLY: list[Any] = [
    lambda by: share(STRANGER, "write", by),
    lambda by: DeleteChat(chat_id=CHAT, by=by),
    lambda by: PinChat(chat_id=CHAT, by=by, pinned=True),
    lambda by: ArchiveChat(chat_id=CHAT, by=by, archived=True),
    lambda by: MoveChat(chat_id=CHAT, by=by, folder_id=FOLDER),
    lambda by: TagChat(chat_id=CHAT, by=by, name="x", present=True),
]
WRITERS: list[Any] = [
    lambda by: rename("new", by),
    lambda by: ConfigureChat(chat_id=CHAT, by=by, fields={"a": 1}),
    lambda by: SelectBranch(chat_id=CHAT, by=by, message_id=Q),
    lambda by: add(Q2, Q, by),
    lambda by: edit(Q, by, content="new"),
    lambda by: delete(Q, by),
    lambda by: RateMessage(chat_id=CHAT, by=by, message_id=Q, rating=1),
    lambda by: Emit(chat_id=CHAT, by=by, message_id=Q, name="log", data=1),
    lambda by: NotePlugin(chat_id=CHAT, by=by, message_id=Q, trace=ActionRan("a", "0" * 64, 0)),
    lambda by: start(A2, Q, by),
    lambda by: end(B, GenerationCancelled(by), by),
]
SHARED = (CREATED, READ_SHARED, WRITE_SHARED, asked(Q), started(B, None), asked(OTHER))


@pytest.mark.parametrize("command", [*OWNERS_ONLY, *WRITERS])
def test_a_stranger_and_a_reader_change_nothing_and_are_told_nothing(command: Any) -> None:
    for by in (STRANGER, READER):
        given(*SHARED).when(command(by)).then_raises(ChatNotFound)


@pytest.mark.parametrize("command", WRITERS)
def test_who_may_write_may_do_what_concerns_messages(command: Any) -> None:
    for by in (OWNER, WRITER):
        assert decide(fold(SHARED), command(by))


@pytest.mark.parametrize("command", OWNERS_ONLY)
def test_what_concerns_the_chat_as_a_whole_is_the_owners(command: Any) -> None:
    given(*SHARED).when(command(WRITER)).then_raises(ChatNotFound)
    assert decide(fold([CREATED, READ_SHARED]), command(OWNER))


def test_who_lost_the_grant_lost_the_access() -> None:
    given(*SHARED, Event(None, ChatUnshared(WRITER))).when(add(Q2, Q, WRITER)).then_raises(ChatNotFound)
    given(*SHARED, Event(None, ChatShared(WRITER, "read"))).when(add(Q2, Q, WRITER)).then_raises(ChatNotFound)


def test_reading_is_the_owners_and_of_those_it_is_shared_with() -> None:
    chat = fold(SHARED)
    assert [chat.may_read(one) for one in (OWNER, WRITER, READER, STRANGER)] == [True, True, True, False]
    assert [chat.may_write(one) for one in (OWNER, WRITER, READER, STRANGER)] == [True, True, False, False]
    gone = evolve(chat, DELETED, 99)
    assert not any(gone.may_read(one) or gone.may_write(one) for one in (OWNER, WRITER, READER, STRANGER))


# ------------------------------------------------------------------------------------------------------------- messages


def test_a_message_is_added() -> None:
    given(CREATED).when(add(Q)).then(asked(Q))


def test_a_message_is_not_added_twice() -> None:
    given(CREATED, asked(Q)).when(add(Q)).then_raises(MessageExists)


def test_a_deleted_message_is_not_added_again() -> None:
    given(CREATED, asked(Q), Event(Q, MessageDeleted())).when(add(Q)).then_raises(MessageExists)


def test_a_message_below_nothing_that_is_there_is_refused() -> None:
    given(CREATED).when(add(Q2, Q)).then_raises(ParentNotFound)


def test_a_message_below_a_deleted_one_is_refused() -> None:
    given(CREATED, asked(Q), Event(Q, MessageDeleted())).when(add(Q2, Q)).then_raises(ParentNotFound)


def test_unknown_keys_of_a_message_are_kept() -> None:
    given(CREATED).when(add(Q, files=[{"id": 1}], foo=None)).then(
        Event(Q, MessageAdded(None, "user", "hello", None, {"files": [{"id": 1}], "foo": None}))
    )


def test_siblings_stand_below_one_parent_in_the_order_they_came() -> None:
    chat = fold([CREATED, asked(Q), started(A, Q), started(B, Q), asked(Q2, A)])
    node = chat.messages.get(Q)
    assert node is not None
    assert node.children == (A, B)
    assert chat.current_id == Q2
    assert set(chat.open_generations) == {A, B}


def test_a_branch_is_selected() -> None:
    given(CREATED, asked(Q), asked(Q2)).when(select(Q)).then(Event(Q, BranchSelected()))


def test_a_branch_that_is_not_there_is_not_selected() -> None:
    given(CREATED, asked(Q), asked(Q2)).when(select(A)).then_raises(MessageNotFound)
    given(CREATED, asked(Q), asked(Q2), Event(Q, MessageDeleted())).when(select(Q)).then_raises(MessageNotFound)


def test_the_branch_that_is_looked_at_is_not_selected_again() -> None:
    given(CREATED, asked(Q), asked(Q2)).when(select(Q2)).then()


def test_a_message_is_edited() -> None:
    given(CREATED, asked(Q)).when(edit(Q, content="new", foo=1)).then(Event(Q, MessageEdited({"content": "new", "foo": 1})))


def test_a_message_that_is_not_there_is_not_edited() -> None:
    given(CREATED).when(edit(Q, content="new")).then_raises(MessageNotFound)


def test_a_message_that_is_still_being_said_is_not_edited() -> None:
    given(*STREAMING).when(edit(A, content="new")).then_raises(GenerationOpen)


def test_an_edit_that_changes_no_key_is_none() -> None:
    given(CREATED, asked(Q)).when(edit(Q)).then()


def test_an_answer_may_be_edited_once_it_is_whole() -> None:
    given(*ANSWERED).when(edit(A, content="better")).then(Event(A, MessageEdited({"content": "better"})))


def test_a_message_is_rated() -> None:
    command = RateMessage(chat_id=CHAT, by=OWNER, message_id=A, rating=-1, comment="no")
    given(*ANSWERED).when(command).then(Event(A, MessageRated(-1, "no")))


def test_a_rating_of_an_arenas_answer_keeps_what_it_picked_and_what_was_asked() -> None:
    picked = Event(A, MessageStarted(Q, "gpt", "arena", TASK, NODE, "gpt"))
    given(CREATED, asked(Q), picked, opened(A), said(A, "Hello"), over(A)).when(
        RateMessage(chat_id=CHAT, by=OWNER, message_id=A, rating=1, comment=None)
    ).then(Event(A, MessageRated(1, None, "gpt", "arena")))


@pytest.mark.parametrize("rating", [-2, 2, 5])
def test_a_rating_is_one_up_one_down_or_none(rating: int) -> None:
    given(*ANSWERED).when(RateMessage(chat_id=CHAT, by=OWNER, message_id=A, rating=rating)).then_raises(BadRequest)


def test_a_message_that_is_not_there_is_not_rated() -> None:
    given(CREATED).when(RateMessage(chat_id=CHAT, by=OWNER, message_id=A, rating=1)).then_raises(MessageNotFound)


def test_an_emitted_event_is_kept_under_its_own_name() -> None:
    command = Emit(chat_id=CHAT, by=None, message_id=A, name="log", data={"x": 1})
    given(*STREAMING).when(command).then(Event(A, Emitted("log", {"x": 1})))


@pytest.mark.parametrize("name", sorted(RESERVED))
def test_the_logs_own_types_are_not_for_emitters(name: str) -> None:
    given(*ANSWERED).when(Emit(chat_id=CHAT, by=OWNER, message_id=A, name=name, data={})).then_raises(BadRequest)


def test_nothing_is_emitted_about_a_message_that_is_not_there() -> None:
    given(CREATED).when(Emit(chat_id=CHAT, by=OWNER, message_id=A, name="log", data={})).then_raises(MessageNotFound)


# ------------------------------------------------------------------------------------------------- filters and actions

APPLIED = FilterApplied("f", "outlet", "function", 1, 1, "1" * 64, "2" * 64)
RAN = ActionRan("foo.bar", "3" * 64, 2)


def test_what_a_filter_and_an_action_did_is_noted_on_their_message() -> None:
    given(*ANSWERED).when(NotePlugin(chat_id=CHAT, message_id=A, trace=APPLIED)).then(Event(A, APPLIED))
    given(*STREAMING).when(NotePlugin(chat_id=CHAT, message_id=A, trace=APPLIED)).then(Event(A, APPLIED))
    given(*ANSWERED).when(NotePlugin(chat_id=CHAT, message_id=None, trace=RAN, by=OWNER)).then(Event(None, RAN))


def test_nothing_is_noted_of_a_message_that_is_not_there() -> None:
    given(*ANSWERED).when(NotePlugin(chat_id=CHAT, message_id=B, trace=APPLIED)).then_raises(MessageNotFound)
    given(*ANSWERED, Event(A, MessageDeleted())).when(NotePlugin(chat_id=CHAT, message_id=A, trace=APPLIED)).then_raises(MessageNotFound)


def test_what_was_noted_changes_nothing_that_a_message_says() -> None:
    before, after = fold(ANSWERED), fold([*ANSWERED, Event(A, APPLIED), Event(A, RAN)])
    assert after == before


def test_filters_are_noted_just_before_the_end_of_their_answer() -> None:
    command = EndGeneration(stream_id=CHAT, message_id=A, outcome=GenerationCancelled(OWNER), emitted=[Emitted("files", {}), APPLIED])
    events = [Event(A, Emitted("files", {})), Event(A, APPLIED), Event(A, GenerationCancelled(OWNER))]
    given(*STREAMING).when(command).then(*events)


def test_the_server_itself_edits_an_answer() -> None:
    changed = {"content": "checked", "originalContent": "Hello"}
    command = EditMessage(chat_id=CHAT, by=None, message_id=A, fields=changed)
    given(*ANSWERED).when(command).then(Event(A, MessageEdited(changed)))
    given(*STREAMING).when(command).then_raises(GenerationOpen)


# --------------------------------------------------------------------------------------------------- deleting a message
#
#   Q ─ A ─ Q2 ─ A2          A and B are two answers to Q
#     └ B

TREE = (CREATED, asked(Q), asked(A, Q, "assistant"), asked(B, Q, "assistant"), asked(Q2, A), asked(A2, Q2, "assistant"))


def gone(*message_ids: UUID) -> list[ChatEvent]:
    return [Event(message_id, MessageDeleted()) for message_id in message_ids]


def children(chat: Chat, message_id: UUID) -> tuple[UUID, ...]:
    node = chat.messages.get(message_id)
    assert node is not None
    return node.children


def test_a_message_goes_with_its_direct_children() -> None:
    given(*TREE).when(delete(A)).then(*gone(A, Q2))


def test_what_stood_below_them_stands_below_what_the_message_answered_in_its_place() -> None:
    chat = fold([*TREE, *gone(A, Q2)])
    node = chat.messages.get(A2)
    assert node is not None
    assert node.parent_id == Q
    assert children(chat, Q) == (A2, B)


def test_a_message_goes_alone_where_that_is_asked() -> None:
    alone = DeleteMessage(chat_id=CHAT, by=OWNER, message_id=A, with_children=False)
    given(*TREE).when(alone).then(*gone(A)).when(alone).then()
    given(*STREAMING).when(DeleteMessage(chat_id=CHAT, by=OWNER, message_id=Q, with_children=False)).then(*gone(Q))


def test_what_was_hung_up_again_is_a_child_like_any_other() -> None:
    given(*TREE, *gone(A, Q2)).when(delete(Q)).then(*gone(Q, A2, B))


def test_a_message_that_is_deleted_already_is_left_alone() -> None:
    given(*TREE, *gone(A, Q2)).when(delete(A)).then()
    given(*TREE, *gone(A, Q2)).when(delete(Q2)).then()


def test_a_message_that_never_was_is_not_deleted() -> None:
    given(*TREE).when(delete(OTHER)).then_raises(MessageNotFound)


def test_a_message_that_is_still_being_said_is_not_deleted_nor_is_its_question() -> None:
    given(*STREAMING).when(delete(A)).then_raises(GenerationOpen)
    given(*STREAMING).when(delete(Q)).then_raises(GenerationOpen)


def test_whoever_looked_at_a_deleted_message_looks_at_what_is_left_above_it() -> None:
    looked_at = fold([*TREE, Event(Q2, BranchSelected()), *gone(A, Q2)])
    assert looked_at.current_id == Q
    assert fold([CREATED, asked(Q), asked(A, Q, "assistant"), *gone(Q, A)]).current_id is None


def test_a_conversation_goes_on_after_its_last_question_and_answer_were_deleted() -> None:
    chat = fold([*TREE, *gone(Q2, A2)])
    assert chat.current_id == A
    given(*TREE, *gone(Q2, A2)).when(add(OTHER, chat.current_id)).then(asked(OTHER, A))


# ---------------------------------------------------------------------------------------------------------- generations


def test_a_generation_is_started() -> None:
    given(CREATED, asked(Q)).when(start(A, Q)).then(started(A, Q))


def test_a_generation_is_not_started_on_a_message_that_is_there() -> None:
    given(*STREAMING).when(start(A, Q)).then_raises(MessageExists)
    given(*ANSWERED).when(start(A, Q)).then_raises(MessageExists)


def test_a_generation_below_nothing_that_is_there_is_refused() -> None:
    given(CREATED).when(start(A, Q)).then_raises(ParentNotFound)


EMPTY_ANSWER = Event(A, MessageAdded(Q, "assistant", ""))
FILLED = Event(A, MessageStarted(Q, "demo", "demo", TASK, NODE, fills=True))


def test_a_generation_fills_an_answer_that_a_person_has_added_and_keeps_its_place() -> None:
    now = given(CREATED, asked(Q), EMPTY_ANSWER, asked(Q2, A)).when(start(A, None, fills=True)).then(FILLED)
    chat = fold(now.events)
    before = fold(now.events[:-1])
    assert (chat.messages.get(Q), chat.messages.get(Q2)) == (before.messages.get(Q), before.messages.get(Q2))
    node = chat.messages.get(A)
    assert node is not None
    assert (node.parent_id, node.children, node.changed_version, node.generated) == (Q, (Q2,), 5, True)
    assert (chat.current_id, [*chat.open_generations]) == (A, [A])


def test_a_message_is_filled_once_and_only_if_an_answer() -> None:
    begun = (CREATED, asked(Q), EMPTY_ANSWER, FILLED)
    given(*begun).when(start(A, Q, fills=True)).then_raises(MessageExists)
    given(*begun, Event(A, GenerationFailed("x", "y"))).when(start(A, Q, fills=True)).then_raises(MessageExists)
    given(*ANSWERED).when(start(A, Q, fills=True)).then_raises(MessageExists)
    given(CREATED, asked(Q)).when(start(Q, None, fills=True)).then_raises(MessageExists)
    given(CREATED, asked(Q)).when(start(A, Q, fills=True)).then_raises(MessageNotFound)
    given(CREATED, asked(Q), EMPTY_ANSWER, *gone(A)).when(start(A, Q, fills=True)).then_raises(MessageNotFound)
    given(CREATED, asked(Q), EMPTY_ANSWER).when(start(A, Q)).then_raises(MessageExists)


def test_a_question_and_its_answers_are_begun_at_once() -> None:
    given().when(create(), add(Q), start(A, Q), start(B, Q)).then(CREATED, asked(Q), started(A, Q), started(B, Q))


def test_of_a_turn_that_is_refused_in_part_nothing_happens() -> None:
    given(CREATED, asked(A)).when(add(Q), start(A, Q)).then_raises(MessageExists)


def test_the_next_parts_are_appended() -> None:
    given(CREATED, started(A)).when(parts(A, 0, BlockOpened(0, "text"), delta("Hel"), delta("lo"))).then(
        opened(A), said(A, "Hel"), said(A, "lo")
    )


def test_a_repeated_delta_changes_nothing() -> None:
    given(*STREAMING).when(parts(A, 0, BlockOpened(0, "text"), delta("Hel"))).then()


def test_of_parts_that_came_in_part_only_the_rest_is_appended() -> None:
    given(*STREAMING).when(parts(A, 0, BlockOpened(0, "text"), delta("Hel"), delta("lo"), BlockOpened(1, "tool_call"), delta("{", 1))).then(
        said(A, "lo"), opened_as(A, 1, "tool_call"), said(A, "{", 1)
    )


def opened_as(message_id: UUID, index: int, type_: Any) -> ChatEvent:
    return Event(message_id, BlockOpened(index, type_))


def test_a_delta_ahead_of_its_turn_is_refused() -> None:
    refused = given(*STREAMING).when(parts(A, 5, delta("!"))).then_raises(DeltaGap)
    assert isinstance(refused, DeltaGap)
    assert (refused.expected_seq, refused.received_seq) == (1, 5)


@pytest.mark.parametrize("ahead", [[delta("!", 1)], [BlockOpened(2, "text")], [BlockOpened(1, "text"), delta("!", 2)]])
def test_a_delta_goes_into_an_open_block_and_blocks_open_in_order(ahead: list[BlockOpened | MessageDelta]) -> None:
    refused = given(*STREAMING).when(parts(A, 1, *ahead)).then_raises(BlockGap)
    assert isinstance(refused, BlockGap)
    assert refused.code == "block_gap"


def test_deltas_are_counted_for_each_generation_by_itself() -> None:
    events = (CREATED, started(A), started(B), opened(A), said(A, "a"), said(A, "b"), opened(B), said(B, "c"))
    given(*events).when(parts(A, 2, delta("d"))).then(said(A, "d"))
    given(*events).when(parts(B, 1, delta("d"))).then(said(B, "d"))
    given(*events).when(parts(B, 2, delta("d"))).then_raises(DeltaGap)


@pytest.mark.parametrize(
    "outcome", [ended("Hello"), GenerationFailed("x", "y", "Hel"), GenerationCancelled(OWNER, "Hel"), GenerationInterrupted(NODE, "Hel")]
)
def test_a_generation_ends_once_however_it_ends(outcome: Any) -> None:
    over_now = given(*STREAMING).when(end(A, outcome)).then(Event(A, outcome))
    over_now.when(end(A)).then_raises(GenerationNotOpen)
    over_now.when(parts(A, 1, delta("lo"))).then_raises(GenerationNotOpen)


def test_a_generation_that_never_began_has_no_tokens_and_no_end() -> None:
    given(CREATED, asked(Q)).when(parts(Q, 0, delta("x"))).then_raises(GenerationNotOpen)
    given(CREATED, asked(Q)).when(end(Q)).then_raises(GenerationNotOpen)


def test_the_end_of_one_answer_is_not_the_end_of_its_neighbour() -> None:
    given(CREATED, started(A), started(B), opened(B), over(A)).when(parts(B, 0, delta("x"))).then(said(B, "x"))


def test_an_answer_that_has_ended_is_continued_beside_it() -> None:
    given(*ANSWERED).when(replace(start(B, Q), continues=A)).then(
        Event(B, MessageStarted(Q, "demo", "demo", TASK, NODE, continues=A)),
    )


def test_only_an_answer_to_the_same_message_that_has_ended_is_continued() -> None:
    given(*STREAMING).when(replace(start(B, Q), continues=A)).then_raises(GenerationOpen)
    given(*ANSWERED).when(replace(start(B, A), continues=A)).then_raises(BadRequest)
    given(*ANSWERED).when(replace(start(B), continues=Q)).then_raises(BadRequest)
    given(*ANSWERED).when(replace(start(B, Q), continues=OTHER)).then_raises(MessageNotFound)
    given(*ANSWERED, Event(A, MessageDeleted())).when(replace(start(B, Q), continues=A)).then_raises(MessageNotFound)


def test_the_payloads_sum_stands_where_the_answer_begins() -> None:
    given(*ANSWERED).when(replace(start(B, Q), payload_sha256="ab", payload={"blob": "ab", "size_bytes": 2})).then(
        Event(B, MessageStarted(Q, "demo", "demo", TASK, NODE, payload_sha256="ab", payload={"blob": "ab", "size_bytes": 2})),
    )


# --------------------------------------------------------------------------------------------------------------- evolve


@FEW
@for_all(histories())
def test_whatever_has_happened_can_be_folded(history: History) -> None:
    assert fold(history.events) == history.state


@FEW
@for_all(histories(), strategies.randoms(use_true_random=False))
def test_folding_never_raises_also_where_the_past_makes_no_sense(history: History, random: Any) -> None:
    shuffled = list(history.events)
    random.shuffle(shuffled)
    fold(shuffled)
    fold([*history.events, *shuffled])


@FEW
@for_all(histories())
def test_the_tree_holds_together(history: History) -> None:
    chat = history.state
    for message_id in chat.messages:
        node = chat.messages.get(message_id)
        assert node is not None
        if node.deleted:
            assert node.children == ()
            continue
        if node.parent_id is not None:
            parent = chat.messages.get(node.parent_id)
            assert parent is not None
            assert not parent.deleted
            assert parent.children.count(message_id) == 1
        for child_id in node.children:
            child = chat.messages.get(child_id)
            assert child is not None
            assert not child.deleted
            assert child.parent_id == message_id
    if chat.current_id is not None:
        current = chat.messages.get(chat.current_id)
        assert current is not None
        assert not current.deleted


@FEW
@for_all(histories())
def test_the_open_generations_are_those_that_began_and_did_not_end(history: History) -> None:
    counted: dict[UUID, list[int]] = {}
    for version, event in enumerate(history.events, 1):
        match event.data:
            case MessageStarted():
                assert event.message_id is not None
                counted[event.message_id] = [version, 0, 0]
            case MessageDelta() if event.message_id in counted:
                counted[event.message_id][1] += 1
            case BlockOpened() if event.message_id in counted:
                counted[event.message_id][2] += 1
            case fact if type(fact).__name__ in ("MessageEnded", "GenerationFailed", "GenerationCancelled", "GenerationInterrupted"):
                assert event.message_id is not None
                del counted[event.message_id]
    known = {one: [g.started_version, g.deltas, g.blocks] for one, g in history.state.open_generations.items()}
    assert known == counted


# -------------------------------------------------------------------------------- several at once, and what they expect


def expect(since: int, *message_ids: UUID, settings: bool = False) -> ExpectUnchanged:
    return ExpectUnchanged(chat_id=CHAT, by=OWNER, since=since, message_ids=message_ids, settings=settings)


def test_what_is_expected_to_be_unchanged_is_refused_if_it_is_not() -> None:
    edited: Any = Event(Q, MessageEdited({"content": "x"}))
    given(CREATED, asked(Q)).when(expect(2, Q)).then()
    given(CREATED, asked(Q), edited).when(expect(2, Q)).then_raises(ChatChanged)
    given(CREATED, asked(Q), edited).when(expect(3, Q)).then()
    given(CREATED, asked(Q)).when(expect(2, A)).then_raises(MessageNotFound)
    given(CREATED, Event(None, ChatConfigured({"a": 1}))).when(expect(1, settings=True)).then_raises(ChatChanged)
    given(CREATED, Event(None, ChatConfigured({"a": 1}))).when(expect(1)).then()


def test_tokens_change_nothing_that_anybody_expected() -> None:
    more: Any = [Event(A, BlockOpened(1, "text")), Event(A, MessageDelta(1, "more"))]
    given(*STREAMING, *more).when(expect(3, Q, A)).then()


def test_many_commands_lead_to_what_they_lead_to_one_by_one() -> None:
    chat = fold([CREATED])
    ids = [UUID(int=1000 + number) for number in range(150)]
    adds = [
        AddMessage(chat_id=CHAT, by=OWNER, message_id=one, parent_id=above, role="user", content="x")
        for one, above in zip(ids, [None, *ids], strict=False)
    ]
    many = decide_all(chat, adds, 1)
    assert [event.message_id for event in many] == ids
    assert many[:50] == decide_all(chat, adds[:50], 1)
    assert len(chat.messages) == 0, "the state that they were decided on is as it was"
