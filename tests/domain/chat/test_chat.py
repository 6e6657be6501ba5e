"""What happens to a chat as a whole: it is created, renamed, configured, moved, archived, left, deleted."""

from uuid import UUID

from domain.chat.commands import (
    ArchiveChat,
    ConfigureChat,
    CreateChat,
    DeleteChat,
    LeaveChat,
    MoveChat,
    PinChat,
    RenameChat,
    TagChat,
)
from domain.chat.facts import (
    ChatArchived,
    ChatConfigured,
    ChatCreated,
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
)
from domain.errors import (
    BadRequest,
    ChatExists,
    ChatNotFound,
    GenerationNotOpen,
    GenerationOpen,
)
from domain.log.event import Event
from tests.domain.chat.given import (
    CREATED,
    DELETED,
    FOLDER,
    OTHER,
    STREAMING,
    A,
    Q,
    add,
    asked,
    create,
    delta,
    end,
    fold,
    given,
    parts,
    rename,
    select,
    share,
    start,
)
from tests.domain.histories import CHAT, OWNER, READER, STRANGER


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
