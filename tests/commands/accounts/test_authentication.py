"""Who is calling, as every process knows it: tokens, keys and tickets, and what ends them."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from commands.accounts.principal import Principal
from commands.ports import Appended, AppendRequest
from domain.accounts.user.commands import ChangeRole, ChangeSettings, DeactivateUser, RevokeTokens
from domain.errors import NotAuthenticated
from domain.log.event import StoredEvent
from tests.commands.accounts.processes import OTHER_PASSWORD, PASSWORD, Process, Start, refused

pytestmark = pytest.mark.anyio


CHANGES: Sequence[tuple[str, Callable[[Principal], Any]]] = [
    ("deactivated", lambda bob: DeactivateUser(user_id=bob.user_id, by=None)),
    ("waiting for approval", lambda bob: ChangeRole(user_id=bob.user_id, by=None, role="pending")),
    ("of another role", lambda bob: ChangeRole(user_id=bob.user_id, by=None, role="auditor")),
    ("signed out everywhere", lambda bob: RevokeTokens(user_id=bob.user_id, by=None)),
    ("signed out here", lambda bob: RevokeTokens(user_id=bob.user_id, by=None, token_id=bob.token_id)),
]


@pytest.mark.parametrize(("what", "command"), CHANGES, ids=[what for what, _ in CHANGES])
async def test_a_change_elsewhere_counts_as_soon_as_it_passes(
    one: Process, two: Process, what: str, command: Callable[[Principal], Any]
) -> None:
    root = await one.sign_up("root")
    await one.sign_up("bob")
    session = await two.passwords.sign_in("bob@example.org", PASSWORD)
    bob = await two.authentication.authenticate(session.token)
    await one.accounts.change(root, command(bob))
    assert two.authentication.still_valid(bob)
    await two.hear()
    assert not two.authentication.still_valid(bob)


async def test_one_token_is_signed_out_and_the_others_go_on(one: Process, two: Process) -> None:
    await one.sign_up("ada")
    first, second = [await two.passwords.sign_in("ada@example.org", PASSWORD) for _ in range(2)]
    await one.sessions.sign_out(first.principal)
    await two.hear()
    await refused(NotAuthenticated, two.authentication.authenticate(first.token))
    await two.authentication.authenticate(second.token)
    assert two.authentication.still_valid(second.principal)


async def test_what_happens_to_somebody_else_changes_nothing(one: Process, two: Process) -> None:
    root, bob = await one.sign_up("root"), await one.sign_up("bob")
    here = await two.authentication.authenticate((await two.passwords.sign_in("root@example.org", PASSWORD)).token)
    await one.accounts.change(root, DeactivateUser(user_id=bob.user_id, by=None))
    await two.hear()
    assert two.authentication.still_valid(here)


class CountedLog:
    """A log that counts what it is asked, and can be held up before an append or in the middle of an answer."""

    def __init__(self, log: Any) -> None:
        self._log = log
        self.asked = 0
        self.answered: Callable[[], Awaitable[None]] | None = None
        self.appending: Callable[[], Awaitable[None]] | None = None

    async def append(self, request: AppendRequest, queued: Callable[[], None] | None = None) -> Appended:
        if self.appending is not None:
            hold, self.appending = self.appending, None
            await hold()
        appended: Appended = await self._log.append(request, queued)
        return appended

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._log, name)
        if name not in ("read", "version", "find_claim", "head"):
            return method

        async def counted(*arguments: Any, **named: Any) -> Any:
            self.asked += 1
            answer = await method(*arguments, **named)
            if self.answered is not None:
                hold, self.answered = self.answered, None
                await hold()
            return answer

        return counted


async def test_who_is_known_is_authenticated_without_a_query(one: Process) -> None:
    log = CountedLog(one.log)
    process = Process(log, one.credentials, one.tickets)
    await one.sign_up("ada")
    session = await process.passwords.sign_in("ada@example.org", PASSWORD)
    key = await process.key(session.principal)
    await process.authentication.authenticate(key)
    asked = log.asked
    for _ in range(10):
        assert process.authentication.still_valid(await process.authentication.authenticate(session.token))
        assert process.authentication.still_valid(await process.authentication.authenticate(key))
    assert log.asked == asked


async def test_what_passes_while_an_account_is_read_is_not_missed(one: Process) -> None:
    root, bob = await one.sign_up("root"), await one.sign_up("bob")
    token = (await one.passwords.sign_in("bob@example.org", PASSWORD)).token
    log = CountedLog(one.log)
    cold = Process(log, one.credentials, one.tickets)
    await cold.hear()

    async def demoted_meanwhile() -> None:
        await one.accounts.change(root, ChangeRole(user_id=bob.user_id, by=None, role="auditor"))
        await cold.hear()

    log.answered = demoted_meanwhile  # after the stream's version was read, before anybody knows of it
    found = await cold.authentication.authenticate(token)
    assert found.role == "auditor"
    assert cold.authentication.still_valid(found)


async def test_a_caller_with_an_open_connection_is_never_forgotten(start: Start) -> None:
    one, small = await start(), await start(known_max=1)
    root = await one.sign_up("root")
    for name in ("bob", "carl"):
        await one.sign_up(name)
    tokens = [(await small.passwords.sign_in(f"{name}@example.org", PASSWORD)).token for name in ("bob", "carl")]
    bob, carl = [await small.authentication.authenticate(token) for token in tokens]
    assert small.authentication.still_valid(bob)
    assert small.authentication.still_valid(carl)
    await one.accounts.change(root, DeactivateUser(user_id=bob.user_id, by=None))
    await small.hear()
    assert not small.authentication.still_valid(bob)
    assert small.authentication.still_valid(carl)


async def test_a_hole_in_what_passes_is_no_reason_to_trust(one: Process, two: Process) -> None:
    await one.sign_up("ada")
    session = await two.passwords.sign_in("ada@example.org", PASSWORD)
    for number in range(2):
        await one.accounts.handle(ChangeSettings(user_id=session.principal.user_id, fields={"n": number}))
    newest = (await one.log.read_log(after=0, limit=100))[-1]
    two.accounts.observe(newest)
    assert not two.authentication.still_valid(session.principal)
    assert two.authentication.still_valid(await two.authentication.authenticate(session.token))


async def test_a_token_ends_with_its_time(start: Start) -> None:
    clock = [1_000_000_000_000.0]  # far ahead, since the signature has a clock of its own
    one = await start(now=lambda: clock[0], token_lifetime_s=60)
    await one.sign_up("ada")
    session = await one.passwords.sign_in("ada@example.org", PASSWORD)
    caller = await one.authentication.authenticate(session.token)
    clock[0] += 59
    assert one.authentication.still_valid(caller)
    clock[0] += 1
    assert not one.authentication.still_valid(caller)
    await refused(NotAuthenticated, one.authentication.authenticate(session.token))


@pytest.mark.parametrize("credential", ["", "x", "sk-", "sk-unknown", "ü", "sk-ü", "\ud800", "x" * 5000, "a.b.c"])
async def test_a_credential_that_is_none_opens_nothing(one: Process, credential: str) -> None:
    await refused(NotAuthenticated, one.authentication.authenticate(credential))
    await refused(NotAuthenticated, one.authentication.redeem(credential))


async def test_a_key_works_on_every_process_until_it_is_revoked(one: Process, two: Process) -> None:
    ada = await one.sign_up("ada")
    key = await one.key(ada, "laptop")
    caller = await two.authentication.authenticate(key)
    assert (caller.user_id, caller.token_id, caller.expires_at) == (ada.user_id, None, None)
    await one.accounts.change(ada, RevokeTokens(user_id=ada.user_id, by=None))
    await two.hear()
    assert two.authentication.still_valid(caller)  # a key is no token
    await one.api_keys.revoke_all(ada, ada.user_id)
    await two.hear()
    assert not two.authentication.still_valid(caller)
    await refused(NotAuthenticated, two.authentication.authenticate(key))


async def test_a_ticket_opens_once_on_any_process(one: Process, two: Process) -> None:
    await one.sign_up("ada")
    session = await one.passwords.sign_in("ada@example.org", PASSWORD)
    ticket = await one.authentication.ticket(session.principal)
    caller = await two.authentication.redeem(ticket)
    assert (caller.user_id, caller.token_id, caller.expires_at) == (
        session.principal.user_id,
        session.principal.token_id,
        session.expires_at,
    )
    assert two.authentication.still_valid(caller)
    for process in (one, two):
        await refused(NotAuthenticated, process.authentication.redeem(ticket))


async def test_a_ticket_is_worth_no_more_than_the_session_it_was_made_in(one: Process) -> None:
    ada = await one.sign_up("ada")
    session = await one.passwords.sign_in("ada@example.org", PASSWORD)
    key = await one.authentication.authenticate(await one.key(ada))
    of_token, of_key = await one.authentication.ticket(session.principal), await one.authentication.ticket(key)
    await one.sessions.sign_out(session.principal)
    await refused(NotAuthenticated, one.authentication.redeem(of_token))
    assert (await one.authentication.redeem(of_key)).api_key_id == key.api_key_id
    of_key = await one.authentication.ticket(key)
    await one.api_keys.revoke_all(ada, ada.user_id)
    await refused(NotAuthenticated, one.authentication.redeem(of_key))


async def test_no_secret_stands_in_the_log(one: Process) -> None:
    ada = await one.sign_up("ada")
    key = await one.key(ada)
    ticket = await one.authentication.ticket(ada)
    await one.passwords.change(ada, PASSWORD, OTHER_PASSWORD)
    events: Sequence[StoredEvent] = await one.log.read_log(after=0, limit=100)
    said = b"".join(stored.data + (stored.actor or b"") for stored in events).decode()
    for secret in (PASSWORD, OTHER_PASSWORD, "plain", key, ticket):
        assert secret not in said
