"""What can happen to an account: given these events, when this command, then those events. Each rule three times where it applies:
it happens, it is refused, it is already so."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given as for_all
from hypothesis import strategies

from domain.accounts.api_key import API_KEYS_MAX, ApiKeyCreated, ApiKeyRevoked
from domain.accounts.user.commands import (
    BlockUser,
    ChangePassword,
    ChangeProfile,
    ChangeQuotas,
    ChangeRole,
    ChangeSettings,
    CreateApiKey,
    CreateUser,
    DeactivateUser,
    HideChat,
    MarkManyRead,
    MarkRead,
    MarkUnread,
    RenameUser,
    RevokeApiKeys,
    RevokeTokens,
    UserCommand,
)
from domain.accounts.user.decide import (
    MANY_READ_MAX,
    OFFERS_MAX,
    OFFERS_OF_ONE_MAX,
    PROFILE_BYTES_MAX,
    REVOKED_TOKENS_MAX,
    SETTINGS_BYTES_MAX,
    VERSION_MAX,
    decide,
    offer_chat,
)
from domain.accounts.user.evolve import evolve
from domain.accounts.user.facts import (
    ChatHidden,
    ChatListed,
    ChatUnhidden,
    ChatUnlisted,
    LastReadAt,
    MarkedUnread,
    PasswordChanged,
    ProfileChanged,
    QuotasChanged,
    RoleChanged,
    SettingsChanged,
    TokensRevoked,
    UserBlocked,
    UserCreated,
    UserDeactivated,
    UserEvent,
    UserRenamed,
    UserUnblocked,
)
from domain.accounts.user.state import NO_ACCOUNT, Account, account_to_json
from domain.errors import AccountInactive, BadRequest, BadStreamName, Forbidden, Refusal, ShareRefused, TooManyOffers, UserNotFound
from domain.log.event import Actor, Emitted
from tests.domain.given import Decider, happened

ME, OTHER, T, T2, K, K2 = (UUID(int=number) for number in range(1, 7))
MYSELF, STRANGER, ADMIN = Actor(ME, "Ada", "user"), Actor(OTHER, "Eve", "user"), Actor(OTHER, "Root", "admin")
MYSELF_ADMIN = Actor(ME, "Ada", "admin")
CHAT = f"chat/{UUID(int=99)}"
SENDER = UUID(int=98)


CREATED = happened(UserCreated("Ada", "ada@example.org", "user"))
CREATED_ADMIN = happened(UserCreated("Ada", "ada@example.org", "admin"))
DEACTIVATED = happened(UserDeactivated())


given = Decider(NO_ACCOUNT, evolve, decide)


def fold(events: Sequence[UserEvent]) -> Account:
    account = NO_ACCOUNT
    for version, event in enumerate(events, 1):
        account = evolve(account, event, version)
    return account


# ------------------------------------------------------------------------------------------------------------- creating


def create(**changed: Any) -> CreateUser:
    return CreateUser(**{"user_id": ME, "name": "Ada", "email": "ada@example.org", "role": "user", **changed})


@pytest.mark.parametrize(
    "answer", [LastReadAt(CHAT, 1), ChatHidden(UUID(int=99)), ChatUnlisted(UUID(int=99))], ids=lambda fact: type(fact).__name__
)
def test_an_offer_waits_until_it_is_answered(answer: Any) -> None:
    offered = fold([CREATED, happened(ChatListed(UUID(int=99), SENDER))])
    assert offered.offers == {UUID(int=99): SENDER}
    assert fold([CREATED, happened(ChatListed(UUID(int=99), SENDER)), happened(answer)]).offers == {}
    assert fold([CREATED, happened(ChatListed(UUID(int=99)))]).offers == {}, "one's own chat is no offer"


def test_a_sender_has_so_many_offers_waiting_and_the_receiver_so_many_of_all() -> None:
    account = msgspec.structs.replace(NO_ACCOUNT, offers={UUID(int=number): SENDER for number in range(OFFERS_OF_ONE_MAX)})
    with pytest.raises(TooManyOffers):
        offer_chat(account, UUID(int=99), SENDER)
    assert offer_chat(account, UUID(int=99), ME) == [happened(ChatListed(UUID(int=99), ME))]
    full = msgspec.structs.replace(NO_ACCOUNT, offers={UUID(int=number): UUID(int=number) for number in range(OFFERS_MAX)})
    with pytest.raises(TooManyOffers):
        offer_chat(full, UUID(int=99), SENDER)


def test_who_is_blocked_offers_nothing() -> None:
    with pytest.raises(ShareRefused):
        offer_chat(fold([CREATED, happened(UserBlocked(SENDER))]), UUID(int=99), SENDER)
    assert offer_chat(fold([CREATED, happened(UserBlocked(SENDER)), happened(UserUnblocked(SENDER))]), UUID(int=99), SENDER)


def test_to_hide_and_to_block_twice_changes_nothing() -> None:
    chat_id = UUID(int=99)
    hide, show = (HideChat(user_id=ME, chat_id=chat_id, hidden=hidden) for hidden in (True, False))
    block, unblock = (BlockUser(user_id=ME, blocked_id=SENDER, blocked=blocked) for blocked in (True, False))
    given(CREATED).when(hide).then(ChatHidden(chat_id))
    given(CREATED, happened(ChatHidden(chat_id))).when(hide).then()
    given(CREATED, happened(ChatHidden(chat_id))).when(show).then(ChatUnhidden(chat_id))
    given(CREATED).when(show).then()
    given(CREATED).when(block).then(UserBlocked(SENDER))
    given(CREATED, happened(UserBlocked(SENDER))).when(block).then()
    given(CREATED, happened(UserBlocked(SENDER))).when(unblock).then(UserUnblocked(SENDER))
    given(CREATED).when(unblock).then()
    given(CREATED).when(BlockUser(user_id=ME, blocked_id=ME, blocked=True)).then_raises(BadRequest)


def test_an_account_is_made() -> None:
    given().when(create()).then(UserCreated("Ada", "ada@example.org", "user"))


def test_an_account_is_made_once() -> None:
    given(CREATED).when(create()).then_raises(BadRequest)


@pytest.mark.parametrize(
    "name", ["", "   ", "\u200b", "\u200d\u200d", "Ada\u0007", "Ada\nLovelace", "Ada\u2028", "A\u0000", "Ada\ud800", "\u202eadA", "x" * 201]
)
def test_a_name_that_cannot_be_shown_is_refused(name: str) -> None:
    given().when(create(name=name)).then_raises(BadRequest)
    given(CREATED).when(RenameUser(user_id=ME, by=MYSELF, name=name)).then_raises(BadRequest)


@pytest.mark.parametrize("name", ["Ada", "Ünal", "山田 太郎", "👩‍💻", "علی‌رضا", "O'Neil\u00a0Jr.", "x" * 200])
def test_people_have_names_of_every_script(name: str) -> None:
    given(CREATED).when(RenameUser(user_id=ME, by=MYSELF, name=name)).then(*([] if name == "Ada" else [UserRenamed(name)]))


def every_command(by: Actor | None) -> list[UserCommand]:
    return [
        RenameUser(user_id=ME, by=by, name="B"),
        ChangeProfile(user_id=ME, by=by, fields={"bio": "x"}),
        ChangeRole(user_id=ME, by=by, role="auditor"),
        DeactivateUser(user_id=ME, by=by),
        RevokeTokens(user_id=ME, by=by),
        ChangePassword(user_id=ME, by=by),
        CreateApiKey(user_id=ME, key_id=K, name=""),
        RevokeApiKeys(user_id=ME, by=by, key_id=K),
        ChangeSettings(user_id=ME, fields={"a": 1}),
        MarkRead(user_id=ME, stream=CHAT, version=1),
        MarkManyRead(user_id=ME, versions={CHAT: 2, f"chat/{UUID(int=98)}": 1}),
        MarkUnread(user_id=ME, stream=CHAT),
    ]


@pytest.mark.parametrize("command", every_command(ADMIN), ids=lambda command: type(command).__name__)
def test_nothing_happens_to_an_account_that_is_not_there(command: UserCommand) -> None:
    given().when(command).then_raises(UserNotFound)


@pytest.mark.parametrize("command", every_command(ADMIN), ids=lambda command: type(command).__name__)
def test_nothing_happens_to_an_account_that_was_deactivated(command: UserCommand) -> None:
    if isinstance(command, DeactivateUser):
        given(CREATED, DEACTIVATED).when(command).then()
    else:
        given(CREATED, DEACTIVATED).when(command).then_raises(AccountInactive)


@pytest.mark.parametrize("command", every_command(STRANGER)[:6], ids=lambda command: type(command).__name__)
def test_nobody_but_an_admin_changes_another_account(command: UserCommand) -> None:
    given(CREATED).when(command).then_raises(Forbidden)


@pytest.mark.parametrize("by", [ADMIN, None], ids=["an admin", "the server"])
@pytest.mark.parametrize("number", range(6))
def test_an_admin_and_the_server_may_change_any_account(by: Actor | None, number: int) -> None:
    assert decide(fold([CREATED]), every_command(by)[number])


# ----------------------------------------------------------------------------------------------------- name and profile


def test_a_person_renames_themselves() -> None:
    given(CREATED).when(RenameUser(user_id=ME, by=MYSELF, name="Ada L.")).then(UserRenamed("Ada L."))


def test_the_same_name_changes_nothing() -> None:
    given(CREATED, happened(UserRenamed("B"))).when(RenameUser(user_id=ME, by=MYSELF, name="B")).then()


@pytest.mark.parametrize("picture", ["/user.png", "https://example.org/a.png", "data:image/png;base64,iVBORw0KGgo="])
def test_a_picture_is_set(picture: str) -> None:
    fields = {"profile_image_url": picture}
    given(CREATED).when(ChangeProfile(user_id=ME, by=MYSELF, fields=fields)).then(ProfileChanged(fields))
    given(CREATED, happened(ProfileChanged(fields))).when(ChangeProfile(user_id=ME, by=MYSELF, fields=fields)).then()


@pytest.mark.parametrize(
    "picture",
    [
        "javascript:alert(1)",
        "data:image/svg+xml;base64,PHN2Zz4=",
        "data:text/html,<script>",
        "",
        7,
        "/a b",
        "https://x\n",
        "/a\n",
        "//evil\n",
    ],
)
def test_a_picture_that_could_run_is_refused(picture: Any) -> None:
    given(CREATED).when(ChangeProfile(user_id=ME, by=MYSELF, fields={"profile_image_url": picture})).then_raises(BadRequest)
    given().when(create(fields={"profile_image_url": picture})).then_raises(BadRequest)


def test_a_profile_is_bounded() -> None:
    given(CREATED).when(ChangeProfile(user_id=ME, by=MYSELF, fields={"bio": "x" * PROFILE_BYTES_MAX})).then_raises(BadRequest)


def test_a_profile_is_bounded_as_a_whole() -> None:
    had = happened(ProfileChanged({"one": "x" * (PROFILE_BYTES_MAX // 2)}))
    fields = {"two": "x" * (PROFILE_BYTES_MAX // 2)}
    given(CREATED, had).when(ChangeProfile(user_id=ME, by=MYSELF, fields=fields)).then_raises(BadRequest)


# ------------------------------------------------------------------------------------------------------------------ quotas


def test_an_admin_changes_what_an_account_may_have_also_their_own() -> None:
    given(CREATED).when(ChangeQuotas(user_id=ME, by=ADMIN, quotas={"runs": 2})).then(QuotasChanged({"runs": 2}))
    given(CREATED_ADMIN).when(ChangeQuotas(user_id=ME, by=MYSELF_ADMIN, quotas={"chats": 0})).then(QuotasChanged({"chats": 0}))


def test_a_person_who_is_no_admin_changes_no_quotas_not_even_to_what_they_are() -> None:
    for by in (MYSELF, STRANGER):
        for quotas in ({"runs": 2}, {}):
            given(CREATED).when(ChangeQuotas(user_id=ME, by=by, quotas=quotas)).then_raises(Forbidden)


def test_a_quota_that_is_none_is_refused() -> None:
    for name, quota in (("walks", 1), ("runs", -1), ("runs", 2**53)):
        given(CREATED).when(ChangeQuotas(user_id=ME, by=ADMIN, quotas={name: quota})).then_raises(BadRequest)


def test_the_same_quotas_change_nothing_and_none_takes_one_back() -> None:
    had = happened(QuotasChanged({"runs": 2, "chats": 3}))
    given(CREATED, had).when(ChangeQuotas(user_id=ME, by=ADMIN, quotas={"runs": 2, "connections": None})).then()
    given(CREATED, had).when(ChangeQuotas(user_id=ME, by=ADMIN, quotas={"runs": None, "chats": 3})).then(QuotasChanged({"runs": None}))
    taken_back = happened(QuotasChanged({"runs": None}))
    given(CREATED, had, taken_back).when(ChangeQuotas(user_id=ME, by=ADMIN, quotas={"runs": None})).then()


# ----------------------------------------------------------------------------------------------------- role, the last admin


def test_an_admin_changes_another_s_role() -> None:
    given(CREATED).when(ChangeRole(user_id=ME, by=ADMIN, role="auditor")).then(RoleChanged("auditor"))
    given(CREATED_ADMIN).when(ChangeRole(user_id=ME, by=ADMIN, role="user")).then(RoleChanged("user"))


def test_a_person_who_is_no_admin_changes_no_role_not_even_to_what_it_is() -> None:
    for by in (MYSELF, STRANGER):
        for role in ("admin", "user"):
            given(CREATED).when(ChangeRole(user_id=ME, by=by, role=role)).then_raises(Forbidden)


def test_an_admin_does_not_change_their_own_role() -> None:
    given(CREATED_ADMIN).when(ChangeRole(user_id=ME, by=MYSELF_ADMIN, role="user")).then_raises(Forbidden)


def test_the_same_role_changes_nothing() -> None:
    given(CREATED).when(ChangeRole(user_id=ME, by=ADMIN, role="user")).then()
    given(CREATED_ADMIN).when(ChangeRole(user_id=ME, by=MYSELF_ADMIN, role="admin")).then()


def test_an_account_is_deactivated_by_its_owner_or_an_admin() -> None:
    given(CREATED).when(DeactivateUser(user_id=ME, by=MYSELF)).then(UserDeactivated())
    given(CREATED).when(DeactivateUser(user_id=ME, by=ADMIN)).then(UserDeactivated())
    given(CREATED_ADMIN).when(DeactivateUser(user_id=ME, by=ADMIN)).then(UserDeactivated())


def test_an_admin_does_not_deactivate_themselves() -> None:
    given(CREATED_ADMIN).when(DeactivateUser(user_id=ME, by=MYSELF_ADMIN)).then_raises(Forbidden)
    # What counts is who they are by the log, whatever their token said.
    given(CREATED_ADMIN).when(DeactivateUser(user_id=ME, by=MYSELF)).then_raises(Forbidden)


def test_a_deactivated_account_has_no_token_left() -> None:
    assert fold([CREATED, DEACTIVATED]).generation == 1
    assert not fold([CREATED, DEACTIVATED]).active


# --------------------------------------------------------------------------------------------------- tokens and passwords


def test_one_token_is_revoked() -> None:
    given(CREATED).when(RevokeTokens(user_id=ME, by=MYSELF, token_id=T)).then(TokensRevoked(T))
    assert fold([CREATED, happened(TokensRevoked(T))]).revoked_tokens == {T}


def test_a_token_is_revoked_once() -> None:
    given(CREATED, happened(TokensRevoked(T))).when(RevokeTokens(user_id=ME, by=MYSELF, token_id=T)).then()
    given(CREATED, happened(TokensRevoked(T))).when(RevokeTokens(user_id=ME, by=MYSELF, token_id=T2)).then(TokensRevoked(T2))


def test_all_tokens_are_revoked_at_any_time() -> None:
    given(CREATED).when(RevokeTokens(user_id=ME, by=MYSELF)).then(TokensRevoked())
    given(CREATED, happened(TokensRevoked())).when(RevokeTokens(user_id=ME, by=MYSELF)).then(TokensRevoked())
    account = fold([CREATED, happened(TokensRevoked(T)), happened(TokensRevoked())])
    assert (account.generation, account.revoked_tokens) == (1, frozenset())


def test_a_bounded_number_of_tokens_is_remembered_singly() -> None:
    revoked = [happened(TokensRevoked(UUID(int=1000 + number))) for number in range(REVOKED_TOKENS_MAX)]
    given(CREATED, *revoked[:-1]).when(RevokeTokens(user_id=ME, by=MYSELF, token_id=T)).then(TokensRevoked(T))
    given(CREATED, *revoked).when(RevokeTokens(user_id=ME, by=MYSELF, token_id=T)).then(TokensRevoked())


def test_a_new_password_ends_every_token() -> None:
    given(CREATED).when(ChangePassword(user_id=ME, by=MYSELF)).then(PasswordChanged(), TokensRevoked())


def test_a_key_is_made_once_and_ends_once() -> None:
    made = happened(ApiKeyCreated(K, "laptop"))
    given(CREATED).when(CreateApiKey(user_id=ME, key_id=K, name="laptop")).then(ApiKeyCreated(K, "laptop"))
    given(CREATED, made).when(CreateApiKey(user_id=ME, key_id=K, name="laptop")).then()
    given(CREATED, made).when(RevokeApiKeys(user_id=ME, by=None, key_id=K)).then(ApiKeyRevoked(K))
    given(CREATED, made, happened(ApiKeyRevoked(K))).when(RevokeApiKeys(user_id=ME, by=None, key_id=K)).then()
    given(CREATED, made).when(RevokeApiKeys(user_id=ME, by=None, key_id=K2)).then()


def test_an_account_holds_a_bounded_number_of_keys() -> None:
    made = [happened(ApiKeyCreated(UUID(int=1000 + number), f"number {number}")) for number in range(API_KEYS_MAX)]
    given(CREATED, *made).when(CreateApiKey(user_id=ME, key_id=K, name="")).then_raises(Forbidden)
    given(CREATED, *made).when(CreateApiKey(user_id=ME, key_id=UUID(int=1000), name="number 0")).then()


def test_a_second_key_leaves_the_first_and_has_another_name() -> None:
    made = happened(ApiKeyCreated(K, "laptop"))
    given(CREATED, made).when(CreateApiKey(user_id=ME, key_id=K2, name="phone")).then(ApiKeyCreated(K2, "phone"))
    given(CREATED, made).when(CreateApiKey(user_id=ME, key_id=K2, name="laptop")).then_raises(BadRequest)
    given(CREATED, made, happened(ApiKeyRevoked(K))).when(CreateApiKey(user_id=ME, key_id=K2, name="laptop")).then(
        ApiKeyCreated(K2, "laptop")
    )


def test_a_key_without_a_name_replaces_the_one_without_and_no_other() -> None:
    made = happened(ApiKeyCreated(K, "laptop")), happened(ApiKeyCreated(K2, ""))
    third = UUID(int=77)
    given(CREATED, *made).when(CreateApiKey(user_id=ME, key_id=third, name="")).then(ApiKeyRevoked(K2), ApiKeyCreated(third, ""))
    full = [happened(ApiKeyCreated(UUID(int=1000 + number), f"number {number}" if number else "")) for number in range(API_KEYS_MAX)]
    replaced = ApiKeyRevoked(UUID(int=1000)), ApiKeyCreated(K, "")
    given(CREATED, *full).when(CreateApiKey(user_id=ME, key_id=K, name="")).then(*replaced)


def test_a_key_has_scopes_that_there_are() -> None:
    ends_at = datetime(2026, 7, 1, tzinfo=UTC)
    command = CreateApiKey(user_id=ME, key_id=K, name="laptop", scopes=["read", "chat", "read"], expires_at=ends_at)
    given(CREATED).when(command).then(ApiKeyCreated(K, "laptop", ["chat", "read"], ends_at))
    for scopes in ([], ["everything"], ["read", "everything"]):
        given(CREATED).when(msgspec.structs.replace(command, scopes=scopes)).then_raises(BadRequest)


def test_a_new_password_and_a_sign_out_everywhere_end_the_keys_unless_they_are_to_stay() -> None:
    made = happened(ApiKeyCreated(K, "laptop")), happened(ApiKeyCreated(K2, ""))
    ended = ApiKeyRevoked(K), ApiKeyRevoked(K2)
    for by in (MYSELF, ADMIN):
        given(CREATED, *made).when(ChangePassword(user_id=ME, by=by)).then(PasswordChanged(), TokensRevoked(), *ended)
        kept = ChangePassword(user_id=ME, by=by, revoke_keys=False)
        given(CREATED, *made).when(kept).then(PasswordChanged(), TokensRevoked())
        given(CREATED, *made).when(RevokeTokens(user_id=ME, by=by)).then(TokensRevoked())
        given(CREATED, *made).when(RevokeTokens(user_id=ME, by=by, revoke_keys=True)).then(TokensRevoked(), *ended)


def test_keys_end_one_by_one_or_all_by_their_owner_or_an_admin() -> None:
    made = happened(ApiKeyCreated(K, "laptop")), happened(ApiKeyCreated(K2, ""))
    for by in (MYSELF, ADMIN):
        given(CREATED, *made).when(RevokeApiKeys(user_id=ME, by=by, key_id=K2)).then(ApiKeyRevoked(K2))
        given(CREATED, *made).when(RevokeApiKeys(user_id=ME, by=by)).then(ApiKeyRevoked(K), ApiKeyRevoked(K2))
        given(CREATED).when(RevokeApiKeys(user_id=ME, by=by)).then()
    given(CREATED, *made).when(RevokeApiKeys(user_id=ME, by=STRANGER)).then_raises(Forbidden)


def test_a_key_of_before_scopes_may_do_what_its_owner_may() -> None:
    old = msgspec.json.decode(b'{"key_id":"01900000-0000-7000-8000-00000000000a","name":"old"}', type=ApiKeyCreated)
    account = evolve(NO_ACCOUNT, happened(old), 3)
    (key,) = account.api_keys.values()
    assert (key.name, key.scopes, key.expires_at, key.version) == ("old", None, None, 3)


# ---------------------------------------------------------------------------------------------------- settings and reading


def test_settings_are_merged_and_only_what_changes_is_told() -> None:
    had = happened(SettingsChanged({"ui": {"theme": "dark"}, "a": 1}))
    given(CREATED, had).when(ChangeSettings(user_id=ME, fields={"ui": {"theme": "dark"}, "a": 2})).then(SettingsChanged({"a": 2}))
    given(CREATED, had).when(ChangeSettings(user_id=ME, fields={"a": True})).then(SettingsChanged({"a": True}))
    given(CREATED, had).when(ChangeSettings(user_id=ME, fields={"a": 1})).then()
    given(CREATED).when(ChangeSettings(user_id=ME, fields={})).then()


def test_settings_are_bounded_as_a_whole() -> None:
    had = [happened(SettingsChanged({str(number): "x" * (SETTINGS_BYTES_MAX // 4)})) for number in range(3)]
    given(CREATED, *had).when(ChangeSettings(user_id=ME, fields={"more": "x" * (SETTINGS_BYTES_MAX // 4)})).then_raises(BadRequest)
    given(CREATED, *had).when(ChangeSettings(user_id=ME, fields={"0": ""})).then(SettingsChanged({"0": ""}))


def test_what_was_read_only_moves_forward() -> None:
    read = happened(LastReadAt(CHAT, 5))
    given(CREATED).when(MarkRead(user_id=ME, stream=CHAT, version=5)).then(LastReadAt(CHAT, 5))
    given(CREATED, read).when(MarkRead(user_id=ME, stream=CHAT, version=6)).then(LastReadAt(CHAT, 6))
    given(CREATED, read).when(MarkRead(user_id=ME, stream=CHAT, version=5)).then()
    given(CREATED, read).when(MarkRead(user_id=ME, stream=CHAT, version=4)).then()
    given(CREATED, read).when(MarkRead(user_id=ME, stream=f"chat/{UUID(int=98)}", version=4)).then(LastReadAt(f"chat/{UUID(int=98)}", 4))


def test_what_was_read_can_be_marked_unread_and_read_again() -> None:
    read, unread = happened(LastReadAt(CHAT, 5)), happened(MarkedUnread(CHAT))
    given(CREATED, read).when(MarkUnread(user_id=ME, stream=CHAT)).then(MarkedUnread(CHAT))
    given(CREATED, read, unread).when(MarkUnread(user_id=ME, stream=CHAT)).then()
    given(CREATED).when(MarkUnread(user_id=ME, stream=CHAT)).then()
    given(CREATED).when(MarkUnread(user_id=ME, stream="chat/7")).then_raises(BadStreamName)
    given(CREATED, read, unread).when(MarkRead(user_id=ME, stream=CHAT, version=1)).then(LastReadAt(CHAT, 1))


def test_of_many_that_are_marked_read_those_are_told_that_move_forward() -> None:
    first, second, third = (f"chat/{UUID(int=number)}" for number in (97, 98, 99))
    had = [happened(LastReadAt(first, 5)), happened(LastReadAt(second, 5))]
    everything = MarkManyRead(user_id=ME, versions={first: 5, second: 6, third: 1})
    given(CREATED, *had).when(everything).then(LastReadAt(second, 6), LastReadAt(third, 1))
    many = {f"chat/{UUID(int=number)}": 1 for number in range(MANY_READ_MAX + 1)}
    given(CREATED).when(MarkManyRead(user_id=ME, versions=many)).then_raises(BadRequest)


@pytest.mark.parametrize("version", [0, -1, VERSION_MAX + 1, 10**30])
def test_a_version_that_cannot_be_is_refused(version: int) -> None:
    given(CREATED).when(MarkRead(user_id=ME, stream=CHAT, version=version)).then_raises(BadRequest)


def test_a_stream_that_cannot_be_is_refused() -> None:
    given(CREATED).when(MarkRead(user_id=ME, stream="chat/7", version=1)).then_raises(BadStreamName)


def test_history_is_never_refused() -> None:
    odd = [
        happened(fact)
        for fact in (LastReadAt("planet/7", 1), MarkedUnread("planet/7"), ChatListed(T), ChatUnlisted(T), ApiKeyRevoked(K), Emitted("x", 1))
    ]
    assert fold([CREATED, *odd]) == fold([CREATED])


def test_a_person_sees_their_account_without_what_guards_it() -> None:
    profile = ProfileChanged({"bio": "b", "role": "admin"})
    account = fold([CREATED, *map(happened, (LastReadAt(CHAT, 5), TokensRevoked(T), profile))])
    seen = account_to_json(account)
    assert seen["read_versions"] == {CHAT: 5}
    assert (seen["bio"], seen["role"]) == ("b", "user")
    assert "revoked_tokens" not in seen


@for_all(strategies.lists(strategies.sampled_from(every_command(MYSELF) + every_command(ADMIN) + [create()]), max_size=30))
def test_whatever_is_asked_for_the_same_thing_twice_changes_nothing_the_second_time(commands: list[UserCommand]) -> None:
    account = fold([CREATED])
    for command in commands:
        try:
            for event in decide(account, command):
                account = evolve(account, event, 0)
            again = decide(account, command)
        except Refusal:
            continue
        assert again == [] or isinstance(command, ChangePassword | RevokeTokens)
