"""What can happen in a channel: given these events, when this command, then those events."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest

from domain.accounts.access import PUBLIC, AccessGranted, AccessRevoked, Grant
from domain.channel import decide as rules
from domain.channel.commands import (
    AddMembers,
    AnswerMember,
    ArchiveChannel,
    AskMember,
    AskModel,
    ChangeChannel,
    ChangeMemberRole,
    ChangeMessage,
    ChangeWebhook,
    ChannelCommand,
    CreateChannel,
    CreateOutgoingWebhook,
    CreateWebhook,
    DeleteChannel,
    ExpireMemberCall,
    LeaveChannel,
    NoteFilters,
    PinMessage,
    PostMessage,
    React,
    RemoveMembers,
    RemoveMessage,
    RevokeOutgoingWebhook,
    RevokeWebhook,
)
from domain.channel.decide import decide
from domain.channel.evolve import evolve
from domain.channel.facts import (
    ChannelArchived,
    ChannelChanged,
    ChannelCreated,
    ChannelDeleted,
    ChannelUnarchived,
    MemberJoined,
    MemberLeft,
    MemberRoleChanged,
    MessageChanged,
    MessagePinned,
    MessagePosted,
    MessageRemoved,
    MessageUnpinned,
    OutgoingWebhookCreated,
    OutgoingWebhookRevoked,
    ReactionAdded,
    ReactionRemoved,
    WebhookChanged,
    WebhookCreated,
    WebhookRevoked,
)
from domain.channel.rights import Asker, may_read
from domain.channel.state import NO_CHANNEL, Channel
from domain.errors import (
    BadRequest,
    CallNotFound,
    ChannelExists,
    ChannelNotFound,
    Forbidden,
    GenerationNotOpen,
    GenerationOpen,
    MessageExists,
    MessageNotFound,
    NotAThread,
    Refusal,
    WebhookNotFound,
)
from domain.generation import (
    AppendParts,
    BlockOpened,
    EndGeneration,
    FilterApplied,
    GenerationCancelled,
    MessageDelta,
    MessageStarted,
    StartGeneration,
)
from domain.log.event import Emitted, Event
from domain.routing.call import CallAnswered, CallLapsed, CallOpened

CHANNEL = UUID(int=0xC0)
ANN, BEN, CAT, DAN, ROOT_USER = (UUID(int=number) for number in range(1, 6))
M1, M2, M3, M4 = (UUID(int=0xA0 + number) for number in range(4))
HOOK, TASK, NODE, GROUP = (UUID(int=0xD0 + number) for number in range(4))
ann, ben, cat, dan = (Asker(one, "user") for one in (ANN, BEN, CAT, DAN))
admin = Asker(ROOT_USER, "admin")

STANDARD = [Event(None, ChannelCreated("standard", ANN, "general"))]
GROUP_OF_THREE = [
    Event(None, ChannelCreated("group", ANN, "friends")),
    Event(None, MemberJoined(ANN, "manager")),
    Event(None, MemberJoined(BEN)),
    Event(None, MemberJoined(CAT)),
]
DM = [Event(None, ChannelCreated("dm", ANN, "")), Event(None, MemberJoined(ANN)), Event(None, MemberJoined(BEN))]
POSTED = Event(M1, MessagePosted(BEN, "hello"))


def folded(events: Sequence[Event[Any]]) -> Channel:
    channel = NO_CHANNEL
    for version, event in enumerate(events, 1):
        channel = evolve(channel, event, version)
    return channel


@dataclass(frozen=True)
class When:
    events: Sequence[Event[Any]]
    command: ChannelCommand

    def then(self, *events: Event[Any]) -> None:
        assert decide(folded(self.events), self.command) == list(events)

    def then_says(self, *facts: Any) -> None:
        """Facts about the channel itself."""
        self.then(*(Event(None, fact) for fact in facts))

    def then_raises(self, refusal: type[Refusal]) -> None:
        with pytest.raises(refusal):
            decide(folded(self.events), self.command)


@dataclass(frozen=True)
class Given:
    events: Sequence[Event[Any]]

    def when(self, command: ChannelCommand) -> When:
        return When(self.events, command)


def given(*events: Event[Any] | Sequence[Event[Any]]) -> Given:
    return Given([one for part in events for one in ([part] if isinstance(part, Event) else part)])


def create(**more: Any) -> CreateChannel:
    return CreateChannel(**{"channel_id": CHANNEL, "by": ann, "type": "standard", "name": " general "} | more)


def post(by: Asker | None = ben, message_id: UUID = M2, **more: Any) -> PostMessage:
    return PostMessage(channel_id=CHANNEL, by=by, message_id=message_id, content="hi", **more)


def change(by: Asker = ann, **more: Any) -> ChangeChannel:
    return ChangeChannel(channel_id=CHANNEL, by=by, **more)


def edit(by: Asker = ben, message_id: UUID = M1, **fields: Any) -> ChangeMessage:
    return ChangeMessage(channel_id=CHANNEL, by=by, message_id=message_id, fields=fields or {"content": "new"})


def remove(by: Asker = ben, message_id: UUID = M1) -> RemoveMessage:
    return RemoveMessage(channel_id=CHANNEL, by=by, message_id=message_id)


def react(by: Asker = cat, name: str = "👍", message_id: UUID = M1, *, present: bool = True) -> React:
    return React(channel_id=CHANNEL, by=by, message_id=message_id, name=name, present=present)


def pin(by: Asker = cat, message_id: UUID = M1, *, pinned: bool = True) -> PinMessage:
    return PinMessage(channel_id=CHANNEL, by=by, message_id=message_id, pinned=pinned)


def start(by: Asker = ben, message_id: UUID = M3, parent_id: UUID | None = M1) -> AskModel:
    begun = StartGeneration(
        stream_id=CHANNEL,
        by=by.id,
        message_id=message_id,
        parent_id=parent_id,
        model="m",
        requested_model="m",
        task_id=TASK,
        node_id=NODE,
    )
    return AskModel(channel_id=CHANNEL, by=by, start=begun)


STARTED = Event(M3, MessageStarted(M1, "m", "m", TASK, NODE, fields={"user_id": str(BEN)}))

# ---------------------------------------------------------------------------------------------------------- the channel


def test_a_standard_channel_goes_by_grants() -> None:
    grant = Grant("user", str(BEN), "write")
    given().when(create(grants=[grant, PUBLIC])).then_says(
        ChannelCreated("standard", ANN, "general"), AccessGranted("user", str(BEN), "write"), AccessGranted("user", "*", "read")
    )
    given().when(create(member_ids=[BEN])).then_raises(BadRequest)


def test_a_group_begins_with_its_maker_as_manager_and_each_member_once() -> None:
    given().when(create(type="group", member_ids=[BEN, ANN, BEN])).then_says(
        ChannelCreated("group", ANN, "general"), MemberJoined(ANN, "manager"), MemberJoined(BEN)
    )
    given().when(create(type="group", grants=[PUBLIC])).then_raises(BadRequest)


def test_a_dm_has_no_name_and_no_manager_and_may_be_with_oneself() -> None:
    given().when(create(type="dm", member_ids=[BEN])).then_says(ChannelCreated("dm", ANN, ""), MemberJoined(ANN), MemberJoined(BEN))
    given().when(create(type="dm", member_ids=[ANN])).then_says(ChannelCreated("dm", ANN, ""), MemberJoined(ANN))
    given().when(create(type="dm", member_ids=[UUID(int=n) for n in range(10, 20)])).then_raises(BadRequest)


@pytest.mark.parametrize(
    "more",
    [
        {"name": ""},
        {"name": "x" * 129},
        {"name": "a\nb"},
        {"description": "x" * 2001},
        {"data": {"a": "x" * 66_000}},
        {"type": "group", "member_ids": [UUID(int=n) for n in range(501)]},
    ],
)
def test_what_a_channel_cannot_be_is_refused(more: dict[str, Any]) -> None:
    given().when(create(**more)).then_raises(BadRequest)


def test_a_channel_is_made_once() -> None:
    given(STANDARD).when(create()).then_raises(ChannelExists)


def test_only_what_differs_is_changed() -> None:
    given(STANDARD).when(change(name="general", description="", is_private=False, data={}, grants=[])).then()
    given(STANDARD).when(change(name="random", is_private=True, data={"a": 1}, grants=[PUBLIC])).then_says(
        ChannelChanged(name="random", is_private=True, data={"a": 1}), AccessGranted("user", "*", "read")
    )
    granted = [*STANDARD, Event(None, AccessGranted("user", "*", "read")), Event(None, ChannelChanged(data={"a": 1, "b": 2}))]
    given(granted).when(change(data={"b": 2, "c": None}, grants=[])).then_says(
        ChannelChanged(data={"a": None}), AccessRevoked("user", "*", "read")
    )
    given(GROUP_OF_THREE).when(change(grants=[PUBLIC])).then_raises(BadRequest)


def test_an_archived_channel_is_read_only_until_it_is_brought_back() -> None:
    archive = ArchiveChannel(channel_id=CHANNEL, by=ann, archived=True)
    archived = [*GROUP_OF_THREE, POSTED, Event(None, ChannelArchived())]
    given(GROUP_OF_THREE).when(archive).then_says(ChannelArchived())
    given(archived).when(archive).then()
    given(archived).when(ArchiveChannel(channel_id=CHANNEL, by=ann, archived=False)).then_says(ChannelUnarchived())
    for command in (post(), edit(), remove(), react(), pin(), start()):
        given(archived).when(command).then_raises(Forbidden)
    assert may_read(folded(archived), ben)


def test_a_deleted_channel_is_no_channel() -> None:
    deleted = [*GROUP_OF_THREE, POSTED, Event(None, ChannelDeleted())]
    given(GROUP_OF_THREE).when(DeleteChannel(channel_id=CHANNEL, by=ann)).then_says(ChannelDeleted())
    for command in (post(), edit(), change(), LeaveChannel(channel_id=CHANNEL, by=ben), DeleteChannel(channel_id=CHANNEL, by=ann)):
        given(deleted).when(command).then_raises(ChannelNotFound)
        given().when(command).then_raises(ChannelNotFound)
    assert not may_read(folded(deleted), ann)


def test_a_channel_in_which_a_model_answers_is_not_deleted() -> None:
    given(GROUP_OF_THREE, POSTED, STARTED).when(DeleteChannel(channel_id=CHANNEL, by=ann)).then_raises(GenerationOpen)


# --------------------------------------------------------------------------------------------------------------- people


def test_members_are_added_and_removed_once() -> None:
    given(GROUP_OF_THREE).when(AddMembers(channel_id=CHANNEL, by=ann, user_ids=[DAN, BEN, DAN])).then_says(MemberJoined(DAN))
    given(GROUP_OF_THREE).when(RemoveMembers(channel_id=CHANNEL, by=ann, user_ids=[DAN, BEN, BEN])).then_says(MemberLeft(BEN))
    given(GROUP_OF_THREE).when(LeaveChannel(channel_id=CHANNEL, by=ben)).then_says(MemberLeft(BEN))
    given(GROUP_OF_THREE).when(LeaveChannel(channel_id=CHANNEL, by=dan)).then()


def test_there_is_always_a_manager() -> None:
    given(GROUP_OF_THREE).when(LeaveChannel(channel_id=CHANNEL, by=ann)).then_says(MemberLeft(ANN), MemberRoleChanged(BEN, "manager"))
    given(GROUP_OF_THREE).when(RemoveMembers(channel_id=CHANNEL, by=ann, user_ids=[ANN, BEN])).then_says(
        MemberLeft(ANN), MemberLeft(BEN), MemberRoleChanged(CAT, "manager")
    )
    alone = GROUP_OF_THREE[:2]
    given(alone).when(LeaveChannel(channel_id=CHANNEL, by=ann)).then_says(MemberLeft(ANN))
    two = [*GROUP_OF_THREE, Event(None, MemberRoleChanged(CAT, "manager"))]
    given(two).when(LeaveChannel(channel_id=CHANNEL, by=ann)).then_says(MemberLeft(ANN))


def test_roles_change_but_for_the_last_managers() -> None:
    def role(user_id: UUID, role: Any) -> ChangeMemberRole:
        return ChangeMemberRole(channel_id=CHANNEL, by=ann, user_id=user_id, role=role)

    given(GROUP_OF_THREE).when(role(BEN, "manager")).then_says(MemberRoleChanged(BEN, "manager"))
    given(GROUP_OF_THREE).when(role(BEN, "member")).then()
    given(GROUP_OF_THREE).when(role(ANN, "member")).then_raises(Forbidden)
    given(GROUP_OF_THREE).when(role(DAN, "manager")).then_raises(BadRequest)
    given(GROUP_OF_THREE, Event(None, MemberRoleChanged(BEN, "manager"))).when(role(ANN, "member")).then_says(
        MemberRoleChanged(ANN, "member")
    )


def test_the_people_of_other_channels_are_not_a_matter_of_membership() -> None:
    for command in (AddMembers(channel_id=CHANNEL, by=ann, user_ids=[DAN]), RemoveMembers(channel_id=CHANNEL, by=ann, user_ids=[ANN])):
        given(STANDARD).when(command).then_raises(BadRequest)
        given(DM).when(command).then_raises(Forbidden)
    given(STANDARD).when(LeaveChannel(channel_id=CHANNEL, by=ann)).then_raises(BadRequest)
    given(DM).when(LeaveChannel(channel_id=CHANNEL, by=ann)).then_raises(Forbidden)


def test_a_channel_has_a_bounded_number_of_members(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "MEMBERS_MAX", 4)
    given(GROUP_OF_THREE).when(AddMembers(channel_id=CHANNEL, by=ann, user_ids=[DAN])).then_says(MemberJoined(DAN))
    given(GROUP_OF_THREE).when(AddMembers(channel_id=CHANNEL, by=ann, user_ids=[DAN, UUID(int=99)])).then_raises(BadRequest)


# ------------------------------------------------------------------------------------------------------------- messages


def test_a_message_is_posted_with_all_that_came_with_it() -> None:
    command = post(parent_id=M1, reply_to_id=M1, temp_id="t1", client_id="c1", fields={"data": {"files": []}})
    given(GROUP_OF_THREE, POSTED).when(command).then(Event(M2, MessagePosted(BEN, "hi", M1, M1, None, "t1", "c1", {"data": {"files": []}})))


def test_a_message_stands_where_it_can() -> None:
    reply = Event(M2, MessagePosted(CAT, "re", M1))
    given(GROUP_OF_THREE, POSTED).when(post(message_id=M1)).then_raises(MessageExists)
    given(GROUP_OF_THREE, POSTED).when(post(parent_id=M4)).then_raises(MessageNotFound)
    given(GROUP_OF_THREE, POSTED).when(post(reply_to_id=M4)).then_raises(MessageNotFound)
    given(GROUP_OF_THREE, POSTED, reply).when(post(message_id=M4, parent_id=M2)).then_raises(NotAThread)
    given(GROUP_OF_THREE, POSTED, reply).when(post(message_id=M4, reply_to_id=M2)).then(Event(M4, MessagePosted(BEN, "hi", reply_to_id=M2)))
    given(GROUP_OF_THREE, POSTED, Event(M1, MessageRemoved())).when(post(parent_id=M1)).then_raises(MessageNotFound)
    given(GROUP_OF_THREE).when(post(temp_id="x" * 201)).then_raises(BadRequest)


def test_a_message_is_edited_and_deleted_once() -> None:
    given(GROUP_OF_THREE, POSTED).when(edit(content="new", data={"a": 1})).then(
        Event(M1, MessageChanged({"content": "new", "data": {"a": 1}}))
    )
    given(GROUP_OF_THREE, POSTED).when(ChangeMessage(channel_id=CHANNEL, by=ben, message_id=M1, fields={})).then()
    given(GROUP_OF_THREE, POSTED).when(remove()).then(Event(M1, MessageRemoved()))
    gone = [*GROUP_OF_THREE, POSTED, Event(M1, MessageRemoved())]
    given(gone).when(remove()).then()
    for command in (edit(), react(), pin()):
        given(gone).when(command).then_raises(MessageNotFound)
    for command in (edit(message_id=M4), remove(message_id=M4), react(message_id=M4), pin(message_id=M4)):
        given(gone).when(command).then_raises(MessageNotFound)


def test_a_reaction_is_there_once_and_taken_away_by_its_owner_alone() -> None:
    liked = Event(M1, ReactionAdded("👍", CAT))
    given(GROUP_OF_THREE, POSTED).when(react()).then(liked)
    given(GROUP_OF_THREE, POSTED, liked).when(react()).then()
    given(GROUP_OF_THREE, POSTED, liked).when(react(ben)).then(Event(M1, ReactionAdded("👍", BEN)))
    given(GROUP_OF_THREE, POSTED, liked).when(react(present=False)).then(Event(M1, ReactionRemoved("👍", CAT)))
    given(GROUP_OF_THREE, POSTED, liked).when(react(ben, present=False)).then()
    given(GROUP_OF_THREE, POSTED, liked, Event(M1, ReactionRemoved("👍", CAT))).when(react(present=False)).then()


@pytest.mark.parametrize("name", ["", "x" * 65, "x" * 10_000, "a\nb", "\x1b[2J"])
def test_what_is_no_name_of_a_reaction_is_refused(name: str) -> None:
    given(GROUP_OF_THREE, POSTED).when(react(name=name)).then_raises(BadRequest)


def test_a_message_has_a_bounded_number_of_different_reactions() -> None:
    many = [Event(M1, ReactionAdded(f"r{number}", CAT)) for number in range(rules.REACTIONS_MAX)]
    given(GROUP_OF_THREE, POSTED, many).when(react(name="one more")).then_raises(BadRequest)
    given(GROUP_OF_THREE, POSTED, many).when(react(ben, name="r7")).then(Event(M1, ReactionAdded("r7", BEN)))


def test_a_message_is_pinned_by_whoever_may_post() -> None:
    pinned = Event(M1, MessagePinned())
    given(GROUP_OF_THREE, POSTED).when(pin()).then(pinned)
    given(GROUP_OF_THREE, POSTED, pinned).when(pin()).then()
    given(GROUP_OF_THREE, POSTED, pinned).when(pin(pinned=False)).then(Event(M1, MessageUnpinned()))


# ------------------------------------------------------------------------------------------------------------- webhooks


def test_an_outgoing_webhook_is_of_who_manages_and_ends_once() -> None:
    def create(**more: Any) -> CreateOutgoingWebhook:
        given = {"channel_id": CHANNEL, "by": ann, "webhook_id": HOOK, "origin": "https://x", "types": ["message", "message"]}
        return CreateOutgoingWebhook(**{**given, **more})

    made = Event(None, OutgoingWebhookCreated(HOOK, "https://x", ["message"]))
    given(STANDARD).when(create()).then(made)
    given(STANDARD, made).when(create()).then()
    given(STANDARD).when(create(by=cat)).then_raises(Forbidden)
    for types in ([], ["message_delta"], ["nothing"]):
        given(STANDARD).when(create(types=types)).then_raises(BadRequest)
    many = [Event(None, OutgoingWebhookCreated(UUID(int=0x900 + number), "https://x", ["message"])) for number in range(10)]
    given(STANDARD, many).when(create()).then_raises(BadRequest)
    revoke = RevokeOutgoingWebhook(channel_id=CHANNEL, by=ann, webhook_id=HOOK)
    given(STANDARD, made).when(revoke).then_says(OutgoingWebhookRevoked(HOOK))
    given(STANDARD).when(revoke).then_raises(WebhookNotFound)
    by_server = RevokeOutgoingWebhook(channel_id=CHANNEL, by=None, webhook_id=HOOK, reason="gone")
    given(STANDARD, made).when(by_server).then_says(OutgoingWebhookRevoked(HOOK, "gone"))


def test_a_webhook_posts_for_as_long_as_it_is_there() -> None:
    made = Event(None, WebhookCreated(HOOK, "CI"))
    given(STANDARD).when(CreateWebhook(channel_id=CHANNEL, by=ann, webhook_id=HOOK, name="CI")).then(made)
    given(STANDARD, made).when(CreateWebhook(channel_id=CHANNEL, by=ann, webhook_id=HOOK, name="CI")).then()
    given(STANDARD, made).when(ChangeWebhook(channel_id=CHANNEL, by=ann, webhook_id=HOOK, name="CD")).then_says(WebhookChanged(HOOK, "CD"))
    given(STANDARD, made).when(post(None, webhook_id=HOOK)).then(Event(M2, MessagePosted(None, "hi", webhook_id=HOOK)))
    revoked = [*STANDARD, made, Event(None, WebhookRevoked(HOOK))]
    given(STANDARD, made).when(RevokeWebhook(channel_id=CHANNEL, by=ann, webhook_id=HOOK)).then_says(WebhookRevoked(HOOK))
    given(revoked).when(post(None, webhook_id=HOOK)).then_raises(Forbidden)
    given(STANDARD, made, Event(None, ChannelArchived())).when(post(None, webhook_id=HOOK)).then_raises(Forbidden)
    for command in (
        RevokeWebhook(channel_id=CHANNEL, by=ann, webhook_id=HOOK),
        ChangeWebhook(channel_id=CHANNEL, by=ann, webhook_id=HOOK, name="x"),
    ):
        given(revoked).when(command).then_raises(WebhookNotFound)
    many = [Event(None, WebhookCreated(UUID(int=900 + number), "x")) for number in range(rules.WEBHOOKS_MAX)]
    given(STANDARD, many).when(CreateWebhook(channel_id=CHANNEL, by=ann, webhook_id=HOOK, name="CI")).then_raises(BadRequest)


# --------------------------------------------------------------------------------------------------------------- models


def test_a_question_to_a_member_is_open_until_it_is_answered_or_ends_with_its_message() -> None:
    call = CallOpened(UUID(int=0xCA), "confirmation", BEN, UUID(int=0xD0), None, {"title": "?"})
    asked, told = Event(M3, call), [*GROUP_OF_THREE, POSTED, STARTED]
    given(told).when(AskMember(channel_id=CHANNEL, message_id=M3, call=call)).then(asked)
    given(told, asked).when(AskMember(channel_id=CHANNEL, message_id=M3, call=call)).then()
    given(told).when(AskMember(channel_id=CHANNEL, message_id=UUID(int=0xFFF), call=call)).then_raises(MessageNotFound)
    answer = AnswerMember(channel_id=CHANNEL, user_id=BEN, call_id=call.call_id, data=True)
    given(told, asked).when(answer).then(Event(M3, CallAnswered(call.call_id, BEN, None, True)))
    given(told, asked).when(AnswerMember(channel_id=CHANNEL, user_id=CAT, call_id=call.call_id, data=True)).then_raises(CallNotFound)
    expired = Event(M3, CallLapsed(call.call_id, "timeout"))
    given(told, asked).when(ExpireMemberCall(channel_id=CHANNEL, call_id=call.call_id, reason="timeout")).then(expired)
    given(told, asked, expired).when(ExpireMemberCall(channel_id=CHANNEL, call_id=call.call_id, reason="timeout")).then()
    given(told, asked, expired).when(answer).then_raises(CallNotFound)
    cancelled = Event(M3, GenerationCancelled(BEN, ""))
    end = EndGeneration(stream_id=CHANNEL, message_id=M3, outcome=GenerationCancelled(BEN, ""))
    given(told, asked).when(end).then(Event(M3, CallLapsed(call.call_id, "cancelled")), cancelled)
    over = [*told, cancelled, asked]
    given(over).when(remove(message_id=M3)).then(Event(M3, CallLapsed(call.call_id, "cancelled")), Event(M3, MessageRemoved(M1)))
    given(over).when(DeleteChannel(channel_id=CHANNEL, by=ann)).then(
        Event(M3, CallLapsed(call.call_id, "cancelled")), Event(None, ChannelDeleted())
    )
    given(over, Event(None, ChannelDeleted())).when(answer).then_raises(ChannelNotFound)


def test_what_filters_made_of_an_answer_is_written_where_nobody_has_edited_it_since() -> None:
    trace = FilterApplied("f", "outlet", "function", 1, 1, "0", "1")
    told = [*GROUP_OF_THREE, POSTED, STARTED, Event(M3, GenerationCancelled(BEN, "Hel"))]
    noted = NoteFilters(channel_id=CHANNEL, message_id=M3, traces=[trace], fields={"content": "HEL"}, since=len(told))
    given(told).when(noted).then(Event(M3, trace), Event(M3, MessageChanged({"content": "HEL"})))
    given(told, Event(M3, trace)).when(noted).then(Event(M3, trace), Event(M3, MessageChanged({"content": "HEL"})))
    given(told, Event(M3, MessageChanged({"content": "mine"}))).when(noted).then(Event(M3, trace))
    given(told, Event(M3, MessageRemoved(M1))).when(noted).then_raises(MessageNotFound)
    given(told, Event(None, ChannelDeleted())).when(noted).then_raises(ChannelNotFound)


def test_a_model_answers_as_in_a_chat() -> None:
    parts = [BlockOpened(0, "text"), MessageDelta(0, "Hel")]
    given(GROUP_OF_THREE, POSTED).when(start()).then(STARTED)
    given(GROUP_OF_THREE, POSTED, STARTED).when(AppendParts(stream_id=CHANNEL, message_id=M3, seq=0, parts=parts)).then(
        *(Event(M3, part) for part in parts)
    )
    told = [*GROUP_OF_THREE, POSTED, STARTED, *(Event(M3, part) for part in parts)]
    end = EndGeneration(stream_id=CHANNEL, message_id=M3, outcome=GenerationCancelled(BEN, "Hel"), emitted=[Emitted("files", {})])
    given(told).when(end).then(Event(M3, Emitted("files", {})), Event(M3, GenerationCancelled(BEN, "Hel")))
    ended = [*told, Event(M3, GenerationCancelled(BEN, "Hel"))]
    given(ended).when(end).then_raises(GenerationNotOpen)
    given(told).when(edit(message_id=M3)).then_raises(GenerationOpen)
    given(told).when(remove(message_id=M3)).then_raises(GenerationOpen)
    given(ended).when(remove(message_id=M3)).then(Event(M3, MessageRemoved(M1)))  # whoever asked may take it away
    given(ended).when(remove(cat, M3)).then_raises(Forbidden)
    given(told, Event(None, ChannelDeleted())).when(end).then_raises(GenerationNotOpen)


# --------------------------------------------------------------------------------------------------------------- rights

MATRIX = {
    # (type, who): what they may do to a message of BEN's: r read, p post and react and pin, e edit and delete, m manage
    ("standard", "owner"): "rpm",
    ("standard", "admin"): "rpem",
    ("standard", "author who may write"): "rpe",
    ("standard", "author who may only read"): "r",
    ("standard", "author without a grant"): "",
    ("standard", "writer"): "rp",
    ("standard", "reader"): "r",
    ("standard", "writer by a group"): "rp",
    ("standard", "stranger"): "",
    ("group", "owner"): "rpm",
    ("group", "admin"): "",
    ("group", "admin who is a member"): "rpem",
    ("group", "author"): "rpe",
    ("group", "member"): "rp",
    ("group", "manager"): "rpm",
    ("group", "stranger"): "",
    ("dm", "owner"): "rp",
    ("dm", "author"): "rpe",
    ("dm", "admin"): "",
    ("dm", "admin who is a member"): "rp",
    ("dm", "stranger"): "",
}


def case(kind: str, who: str) -> tuple[list[Event[Any]], Asker]:
    events = list({"standard": STANDARD, "group": GROUP_OF_THREE, "dm": DM}[kind])
    grants = {"author who may write": "write", "author who may only read": "read", "writer": "write", "reader": "read"}
    asker = {"owner": ann, "admin": admin, "admin who is a member": admin, "member": cat, "manager": cat, "stranger": dan}.get(who, ben)
    if who in ("writer", "reader"):
        asker = cat
    if who in grants:
        events.append(Event(None, AccessGranted("user", str(asker.id), grants[who])))  # type: ignore[arg-type]
    if who == "writer by a group":
        asker = Asker(DAN, "user", (GROUP,))
        events.append(Event(None, AccessGranted("group", str(GROUP), "write")))
    if who == "admin who is a member":
        events.append(Event(None, MemberJoined(ROOT_USER)))
    if who == "manager":
        events.append(Event(None, MemberRoleChanged(CAT, "manager")))
    return [*events, POSTED], asker


@pytest.mark.parametrize(("kind", "who"), MATRIX, ids=[" ".join(one) for one in MATRIX])
def test_who_may_do_what(kind: str, who: str) -> None:
    events, asker = case(kind, who)
    channel = folded(events)

    def allowed(command: ChannelCommand) -> bool:
        try:
            return bool(decide(channel, command))
        except Forbidden:
            return False

    posting = {allowed(command) for command in (post(asker), react(asker), pin(asker), start(asker))}
    editing = {allowed(command) for command in (edit(asker), remove(asker))}
    managing = {allowed(change(asker, name="other")), allowed(ArchiveChannel(channel_id=CHANNEL, by=asker, archived=True))}
    assert len(posting) == len(editing) == len(managing) == 1
    may = zip("rpem", (may_read(channel, asker), *posting, *editing, *managing), strict=True)
    assert "".join(letter for letter, is_allowed in may if is_allowed) == MATRIX[kind, who]


def test_the_matrix_says_what_every_kind_of_channel_does_with_each() -> None:
    assert {kind for kind, _ in MATRIX} == {"standard", "group", "dm"}
    for kind, who in itertools.product(("group", "dm"), ("owner", "author", "admin", "admin who is a member", "stranger")):
        assert (kind, who) in MATRIX
