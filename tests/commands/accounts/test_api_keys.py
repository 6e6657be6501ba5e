"""API keys and sign-ins: what each may do, until when, and who may end them."""

from typing import Any
from uuid import uuid4

import msgspec
import pytest

from commands.accounts.principal import Principal
from domain.accounts.user.commands import ChangeRole, DeactivateUser
from domain.errors import ApiKeyNotFound, BadRequest, Forbidden, NotAuthenticated, ScopeMissing, SessionNotFound, UserNotFound
from tests.commands.accounts.processes import OTHER_PASSWORD, PASSWORD, Process, Start, refused

pytestmark = pytest.mark.anyio


async def keyed(process: Process, owner: Principal, *scopes: str, expires_at: int | None = None) -> Principal:
    """A caller with a new key of this person's."""
    return await process.authentication.authenticate(await process.key(owner, f"key {uuid4()}", list(scopes) or None, expires_at))


async def test_a_key_ends_with_its_time_on_every_process(start: Start) -> None:
    clock = [1_000_000.0]
    one, two = await start(now=lambda: clock[0]), await start(now=lambda: clock[0])
    ada = await one.sign_up("ada")
    key = await one.key(ada, "laptop", None, 1_000_060)
    caller = await two.authentication.authenticate(key)
    assert caller.expires_at == 1_000_060
    clock[0] += 59
    assert two.authentication.still_valid(caller)
    clock[0] += 1
    assert not two.authentication.still_valid(caller)
    await refused(NotAuthenticated, one.authentication.authenticate(key))


async def test_a_key_that_would_be_over_is_not_made(start: Start) -> None:
    one = await start(now=lambda: 1_000_000.0)
    ada = await one.sign_up("ada")
    for expires_at in (0, 1_000_000, 2**62):
        await refused(BadRequest, one.key(ada, "laptop", None, expires_at))
    assert await one.api_keys.list_keys(ada, ada.user_id) == []


async def test_keys_end_with_a_changed_password_on_every_process_unless_they_are_to_stay(one: Process, two: Process) -> None:
    ada = await one.sign_up("ada")
    key = await one.key(ada, "laptop")
    caller = await two.authentication.authenticate(key)
    await one.passwords.change(ada, PASSWORD, OTHER_PASSWORD, revoke_keys=False)
    await two.hear()
    assert two.authentication.still_valid(caller)
    ada = (await one.passwords.sign_in("ada@example.org", OTHER_PASSWORD)).principal
    await one.passwords.change(ada, OTHER_PASSWORD, PASSWORD)
    await two.hear()
    assert not two.authentication.still_valid(caller)
    await refused(NotAuthenticated, two.authentication.authenticate(key))


async def test_keys_end_with_a_password_that_an_admin_sets(one: Process) -> None:
    root, bob = await one.sign_up("root"), await one.sign_up("bob")
    key = await one.key(bob, "laptop")
    await one.passwords.reset(root, bob.user_id, OTHER_PASSWORD, revoke_keys=False)
    await one.authentication.authenticate(key)
    await one.passwords.reset(root, bob.user_id, OTHER_PASSWORD)
    await refused(NotAuthenticated, one.authentication.authenticate(key))


async def test_an_admin_lists_and_ends_the_keys_of_others_and_nobody_else_does(one: Process) -> None:
    root, bob, eve = await one.sign_up("root"), await one.sign_up("bob"), await one.sign_up("eve")
    keys = [await one.key(bob, name) for name in ("laptop", "phone", "tablet")]
    known = await one.api_keys.list_keys(root, bob.user_id)
    assert [key.name for key in known] == ["laptop", "phone", "tablet"]
    await refused(Forbidden, one.api_keys.list_keys(eve, bob.user_id))
    await refused(Forbidden, one.api_keys.revoke(eve, bob.user_id, known[0].key_id))
    await refused(Forbidden, one.api_keys.revoke_all(eve, bob.user_id))
    await refused(Forbidden, one.sessions.revoke_all(eve, bob.user_id, revoke_keys=True))
    await one.api_keys.revoke(root, bob.user_id, known[0].key_id)
    await refused(ApiKeyNotFound, one.api_keys.revoke(root, bob.user_id, known[0].key_id))
    await refused(UserNotFound, one.api_keys.list_keys(root, uuid4()))
    await refused(NotAuthenticated, one.authentication.authenticate(keys[0]))
    await one.authentication.authenticate(keys[1])
    await one.api_keys.revoke_all(root, bob.user_id)
    for key in keys:
        await refused(NotAuthenticated, one.authentication.authenticate(key))


async def test_the_key_of_another_person_is_not_found(one: Process) -> None:
    ada, bob = await one.sign_up("ada"), await one.sign_up("bob")
    key = await one.authentication.authenticate(await one.key(ada, "laptop"))
    assert key.api_key_id is not None
    await refused(ApiKeyNotFound, one.api_keys.revoke(bob, bob.user_id, key.api_key_id))
    assert one.authentication.still_valid(key)


async def test_an_admins_key_without_the_scope_acts_as_a_user(one: Process) -> None:
    root, bob = await one.sign_up("root"), await one.sign_up("bob")
    limited, full, unlimited = await keyed(one, root, "read", "chat", "account"), await keyed(one, root, "admin"), await keyed(one, root)
    assert [(caller.role, caller.reads_everything) for caller in (limited, full, unlimited)] == [
        ("user", False),
        ("admin", True),
        ("admin", True),
    ]
    for caller in (limited, full, unlimited):
        assert one.authentication.still_valid(caller)
    demote = ChangeRole(user_id=bob.user_id, by=None, role="auditor")
    for work in (
        lambda: one.accounts.change(limited, demote),
        lambda: one.accounts.change(limited, DeactivateUser(user_id=bob.user_id, by=None)),
        lambda: one.passwords.reset(limited, bob.user_id, OTHER_PASSWORD),
        lambda: one.registration.add(limited, "Carl", "carl@example.org", OTHER_PASSWORD, "admin"),
        lambda: one.sessions.revoke_all(limited, bob.user_id, revoke_keys=True),
    ):
        await refused(ScopeMissing, work())
    await refused(Forbidden, one.api_keys.list_keys(limited, bob.user_id))
    assert (await one.accounts.change(full, demote)).role == "auditor"


async def test_a_key_makes_no_key_that_may_do_more_or_holds_for_longer(start: Start) -> None:
    one = await start(now=lambda: 1_000_000.0)
    ada = await one.sign_up("ada")
    limited = await keyed(one, ada, "account", "chat", expires_at=1_000_100)
    for given in ({"scopes": None}, {"scopes": ["admin"]}, {"scopes": ["chat", "admin"]}, {"expires_at": None}, {"expires_at": 1_000_101}):
        asked: dict[str, Any] = {"scopes": ["read"], "expires_at": 1_000_100, **given}
        await refused(Forbidden, one.api_keys.create(limited, "more", **asked))
    made = await one.authentication.authenticate((await one.api_keys.create(limited, "less", ["read"], 1_000_100))[1])
    assert made.scopes == frozenset({"read"})
    await one.api_keys.create(await keyed(one, ada), "all", None, None)


async def test_a_ticket_has_the_scopes_of_its_key(one: Process, two: Process) -> None:
    ada = await one.sign_up("ada")
    reader = await keyed(one, ada, "read")
    await two.accounts.account(ada.user_id, fresh=True)
    redeemed = await two.authentication.redeem(await one.authentication.ticket(reader))
    assert (redeemed.scopes, redeemed.role) == (reader.scopes, "user")
    assert not redeemed.may("chat")


async def test_the_list_of_keys_says_what_each_is_for_and_when_it_was_used(start: Start) -> None:
    used: list[Any] = []
    one = await start(now=lambda: 1_000_000.0, note_used=used.append)
    ada = await one.sign_up("ada")
    key = await one.key(ada, "laptop", ["chat"], 1_000_100)
    await one.key(ada)
    caller = await one.authentication.authenticate(key)
    assert used == [caller.api_key_id]
    await one.credentials.note_used(used)
    laptop, unnamed = await one.api_keys.list_keys(ada, ada.user_id)
    assert (laptop.key_id, laptop.name, laptop.scopes, laptop.expires_at) == (caller.api_key_id, "laptop", ["chat", "read"], 1_000_100)
    assert laptop.created_at is not None and laptop.last_used_at is not None
    assert (unnamed.name, unnamed.scopes, unnamed.expires_at, unnamed.last_used_at) == ("", None, None, None)


# -------------------------------------------------------------------------------------------------------------- sign-ins


async def test_sign_ins_are_listed_until_they_end(one: Process, two: Process) -> None:
    await one.sign_up("ada")
    first = await one.passwords.sign_in("ada@example.org", PASSWORD, address="192.0.2.1", user_agent="A\u0000 browser\n")
    second = await two.passwords.sign_in("ada@example.org", PASSWORD, address="2001:db8::1")
    ada = first.principal
    known = await two.sessions.list_sessions(ada)
    assert {one.session.token_id for one in known if one.is_current} == {ada.token_id}
    shown = {one.session.token_id: (one.session.address, one.session.user_agent) for one in known}
    assert shown[ada.token_id] == ("192.0.2.1", "A  browser ")
    assert len(known) == 3, "the sign-up is one too"
    assert second.principal.token_id is not None
    await one.sessions.revoke(ada, second.principal.token_id)
    await refused(SessionNotFound, one.sessions.revoke(ada, second.principal.token_id))
    await refused(SessionNotFound, one.sessions.revoke(ada, uuid4()))
    await two.hear()
    await refused(NotAuthenticated, two.authentication.authenticate(second.token))
    assert len(await one.sessions.list_sessions(ada)) == 2


async def test_to_sign_out_everywhere_ends_every_sign_in_and_with_a_word_the_keys(one: Process, two: Process) -> None:
    ada = await one.sign_up("ada")
    session, key = await two.passwords.sign_in("ada@example.org", PASSWORD), await one.key(ada, "laptop")
    await one.sessions.revoke_all(ada, ada.user_id, revoke_keys=False)
    await two.hear()
    await refused(NotAuthenticated, two.authentication.authenticate(session.token))
    assert await one.sessions.list_sessions(ada) == []
    await two.authentication.authenticate(key)
    await one.sessions.revoke_all(ada, ada.user_id, revoke_keys=True)
    await two.hear()
    await refused(NotAuthenticated, two.authentication.authenticate(key))


async def test_another_persons_sign_in_is_not_found(one: Process) -> None:
    ada, bob = await one.sign_up("ada"), await one.sign_up("bob")
    assert ada.token_id is not None
    await refused(SessionNotFound, one.sessions.revoke(bob, ada.token_id))
    assert one.authentication.still_valid(ada)


async def test_an_admin_signs_another_person_out_everywhere(one: Process) -> None:
    root, bob = await one.sign_up("root"), await one.sign_up("bob")
    key = await one.key(bob, "laptop")
    await one.sessions.revoke_all(root, bob.user_id, revoke_keys=True)
    await refused(NotAuthenticated, one.authentication.authenticate(key))
    assert not one.authentication.still_valid(bob)
    assert one.authentication.still_valid(root)


async def test_no_key_and_no_address_stands_in_the_log(one: Process) -> None:
    await one.sign_up("ada")
    ada = (await one.passwords.sign_in("ada@example.org", PASSWORD, address="192.0.2.1", user_agent="a browser")).principal
    key = await one.key(ada, "laptop", ["read"])
    said = msgspec.json.encode([stored.data for stored in await one.log.read_log(after=0, limit=100)]).decode()
    for secret in (key, key.removeprefix("sk-"), "192.0.2.1", "a browser"):
        assert secret not in said
