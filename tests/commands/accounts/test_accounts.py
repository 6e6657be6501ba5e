"""Accounts on a log: who becomes admin, who is let in, and how soon a process knows that somebody no longer is."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from adapters.identity import Argon2Hasher, JwtTokens
from adapters.memory.accounts.credentials import MemoryCredentials
from adapters.memory.accounts.tickets import MemoryTickets
from adapters.memory.log import MemoryLog
from adapters.postgres.accounts.credentials import PostgresCredentials
from adapters.postgres.accounts.tickets import PostgresTickets
from adapters.postgres.log import PostgresLog, postgres_log
from commands.accounts.accounts import PASSWORD_CHARACTERS, Accounts, Principal, normal_email
from commands.accounts.api_keys import ApiKeys
from commands.accounts.attempts import (
    GUESSES_OF_ONE,
    GUESSES_OF_ONE_FROM_ONE_PLACE,
    LONGEST_PAUSE_S,
    TAKEN_FROM_ONE_PLACE,
    SignInBrake,
)
from commands.accounts.sessions import Sessions
from commands.ports import Appended, AppendRequest
from domain.accounts.user import ChangeRole, ChangeSettings, DeactivateUser, RenameUser, RevokeTokens, UserRole
from domain.errors import (
    AccountInactive,
    BadRequest,
    ClaimTaken,
    Forbidden,
    NotAuthenticated,
    TooManyAttempts,
    UserNotFound,
    WrongCredentials,
)
from domain.log.event import StoredEvent

pytestmark = pytest.mark.anyio

PASSWORD, OTHER_PASSWORD = "correct horse", "battery staple"
SECRET = b"s" * 32
STRENGTH = Argon2Hasher()


class PlainHasher:
    """A hasher that costs nothing, and counts."""

    def __init__(self) -> None:
        self.asked = 0

    async def hash(self, password: str) -> str:
        self.asked += 1
        return f"plain {password}"

    async def verify(self, password: str, password_hash: str | None) -> bool:
        self.asked += 1
        await asyncio.sleep(0)
        return password_hash == f"plain {password}"


class Process:
    """One server process: its own accounts and its own end of the log. What it hears of the log is said by ``hear``."""

    def __init__(self, log: Any, credentials: Any, tickets: Any, **options: Any) -> None:
        self.log = log
        self.hasher = PlainHasher()
        self.credentials = credentials
        self.tickets = tickets
        self.accounts = Accounts(log, credentials, tickets, self.hasher, STRENGTH, JwtTokens(SECRET), **options)
        now = options.get("now", time.time)
        self.api_keys = ApiKeys(self.accounts, credentials, log, now=now)
        self.sessions = Sessions(self.accounts, credentials, now=now)
        self._heard = 0

    async def key(self, principal: Principal, *given: Any) -> str:
        return (await self.api_keys.create(principal, *given))[1]

    async def hear(self) -> None:
        """Everything that was committed so far, by whatever process, passes here."""
        for stored in await self.log.read_log(after=self._heard, limit=10_000):
            self.accounts.observe(stored)
            self._heard = stored.position

    async def sign_up(self, name: str, role: UserRole | None = None) -> Principal:
        signed_in = await self.accounts.sign_up(name, f"{name}@example.org", PASSWORD)
        assert role is None or signed_in.principal.role == role
        return signed_in.principal


Start = Callable[..., Awaitable[Process]]


@pytest.fixture(params=["memory", pytest.param("postgres", marks=pytest.mark.postgres)])
def dsn(request: pytest.FixtureRequest) -> str | None:
    """None: in memory."""
    return None if request.param == "memory" else str(request.getfixturevalue("database"))


@pytest.fixture
async def start(dsn: str | None) -> AsyncIterator[Start]:
    """Starts one more process on the same history."""
    shared = MemoryLog(), MemoryCredentials(), MemoryTickets()
    logs: list[PostgresLog] = []

    async def started(**options: Any) -> Process:
        if dsn is None:
            return Process(*shared, **options)
        log = postgres_log(dsn, lambda _: None)
        await log.start()
        logs.append(log)
        return Process(log, PostgresCredentials(log.reader), PostgresTickets(log.reader), **options)

    yield started
    for log in logs:
        await log.close()


@pytest.fixture
async def one(start: Start) -> Process:
    return await start()


@pytest.fixture
async def two(start: Start) -> Process:
    return await start()


async def refused(error: type[Exception], work: Awaitable[object]) -> None:
    with pytest.raises(error):
        await work


# ------------------------------------------------------------------------------------------------------------ signing up


async def test_the_first_of_all_who_sign_up_at_once_on_two_processes_is_the_admin(one: Process, two: Process) -> None:
    made = await asyncio.gather(*((one, two)[number % 2].sign_up(f"user{number}") for number in range(10)))
    assert sorted(principal.role for principal in made) == ["admin"] + ["user"] * 9


async def test_an_email_is_one_account_s_on_every_process(one: Process, two: Process) -> None:
    tried = await asyncio.gather(*((one, two)[number % 2].sign_up("ada") for number in range(6)), return_exceptions=True)
    assert sum(isinstance(outcome, Principal) for outcome in tried) == 1
    taken = [outcome for outcome in tried if isinstance(outcome, ClaimTaken)]
    assert len(taken) == 5
    assert not any("example" in str(error) or "example" in error.key for error in taken)


async def test_a_new_account_has_the_default_role(start: Start) -> None:
    one = await start(default_role="pending")
    await one.sign_up("ada", "admin")
    await one.sign_up("bob", "pending")


async def test_where_sign_up_is_off_only_the_first_account_is_made(start: Start) -> None:
    one = await start(signup_enabled=False)
    await one.sign_up("ada", "admin")
    asked = one.hasher.asked
    await refused(Forbidden, one.sign_up("bob"))
    assert one.hasher.asked == asked


async def test_where_sign_up_is_off_only_one_of_many_first_accounts_is_made(start: Start) -> None:
    one, two = await start(signup_enabled=False), await start(signup_enabled=False)
    tried = await asyncio.gather(*((one, two)[number % 2].sign_up(f"user{number}") for number in range(6)), return_exceptions=True)
    assert [outcome.role for outcome in tried if isinstance(outcome, Principal)] == ["admin"]
    assert sum(isinstance(outcome, Forbidden) for outcome in tried) == 5


@pytest.mark.parametrize(
    ("name", "email", "password"),
    [
        ("Ada", "ada", PASSWORD),
        ("Ada", "ada@example.org\u0000", PASSWORD),
        ("Ada", "a@b@c", PASSWORD),
        ("Ada", f"{'a' * 65}@example.org", PASSWORD),
        ("Ada", "ada@example.org", "x" * (PASSWORD_CHARACTERS[0] - 1)),
        ("Ada", "ada@example.org", "x" * (PASSWORD_CHARACTERS[1] + 1)),
        ("Ada", "ada@example.org", "x" * PASSWORD_CHARACTERS[1]),
        ("Ada", "ada@example.org", "Passw0rd!"),
        ("Ada", "ada@example.org", "ada@example.org"),
        ("Zweifelstein", "ada@example.org", "zweifelstein1"),
        ("\u0007", "ada@example.org", PASSWORD),
    ],
)
async def test_what_cannot_be_an_account_is_refused_before_any_work(one: Process, name: str, email: str, password: str) -> None:
    await refused(BadRequest, one.accounts.sign_up(name, email, password))
    assert one.hasher.asked == 0


async def test_a_taken_email_is_refused_before_any_work(one: Process) -> None:
    await one.sign_up("ada")
    asked = one.hasher.asked
    await refused(ClaimTaken, one.accounts.sign_up("Eve", " ADA@Example.org ", PASSWORD))
    assert one.hasher.asked == asked


async def test_one_email_written_in_two_ways_is_one() -> None:
    assert normal_email(" Rene\u0301@Example.ORG\n") == normal_email("ren\u00e9@example.org")


# ------------------------------------------------------------------------------------------------------------ signing in


async def test_a_person_signs_in_with_the_right_password_on_any_process(one: Process, two: Process) -> None:
    made = await one.sign_up("ada")
    signed_in = await two.accounts.sign_in("Ada@example.org", PASSWORD)
    assert signed_in.principal.user_id == made.user_id
    assert (await one.accounts.authenticate(signed_in.token)).user_id == made.user_id


@pytest.mark.parametrize("email", ["ada@example.org", "nobody@example.org", "no address", "nul\u0000@example.org", ""])
async def test_a_wrong_email_and_a_wrong_password_cost_the_same_work(one: Process, email: str) -> None:
    await one.sign_up("ada")
    asked = one.hasher.asked
    for wrong in ("incorrect horse", "", PASSWORD + "x" * PASSWORD_CHARACTERS[1]):
        await refused(WrongCredentials, one.accounts.sign_in(email, wrong))
    assert one.hasher.asked == asked + 3


async def test_a_deactivated_account_is_told_so_only_with_its_password(one: Process) -> None:
    admin, bob = await one.sign_up("ada"), await one.sign_up("bob")
    await one.accounts.change(admin, DeactivateUser(user_id=bob.user_id, by=None))
    await refused(AccountInactive, one.accounts.sign_in("bob@example.org", PASSWORD))
    await refused(WrongCredentials, one.accounts.sign_in("bob@example.org", OTHER_PASSWORD))


async def test_an_old_password_that_is_changed_in_the_middle_of_a_sign_in_opens_nothing(one: Process, two: Process) -> None:
    ada = await one.sign_up("ada")
    verify = two.hasher.verify

    async def changed_meanwhile(password: str, password_hash: str | None) -> bool:
        await one.accounts.change_password(ada, PASSWORD, OTHER_PASSWORD)
        return await verify(password, password_hash)

    two.hasher.verify = changed_meanwhile  # type: ignore[method-assign]  # the moment between reading the hash and the answer
    stale = await two.accounts.sign_in("ada@example.org", PASSWORD)
    await two.hear()
    await refused(NotAuthenticated, two.accounts.authenticate(stale.token))
    await refused(NotAuthenticated, one.accounts.authenticate(stale.token))


async def test_who_guesses_is_slowed_down_and_the_right_password_does_not_reset_it(one: Process) -> None:
    await one.sign_up("ada")
    await one.sign_up("eve")
    for number in range(GUESSES_OF_ONE_FROM_ONE_PLACE):
        await refused(WrongCredentials, one.accounts.sign_in("ada@example.org", f"guess number {number}", address="192.0.2.1"))
        await one.accounts.sign_in("eve@example.org", PASSWORD, address="192.0.2.1")
    await refused(TooManyAttempts, one.accounts.sign_in("ada@example.org", PASSWORD, address="192.0.2.1"))
    await one.accounts.sign_in("ada@example.org", PASSWORD, address="192.0.2.2")


async def test_the_owner_is_let_in_without_a_wait_while_a_thousand_places_guess(start: Start) -> None:
    pauses: list[float] = []

    async def sleep(pause_s: float) -> None:
        pauses.append(pause_s)

    one = await start(brake=SignInBrake(clock=lambda: 0.0, sleep=sleep))
    await one.sign_up("ada")
    await one.accounts.sign_in("ada@example.org", PASSWORD, address="2001:db8::1")
    for number in range(GUESSES_OF_ONE + 10):
        await refused(WrongCredentials, one.accounts.sign_in("ada@example.org", "a guess", address=f"192.0.2.{number}"))
    assert len(pauses) == 10 and pauses == sorted(pauses) and pauses[0] < pauses[-1] == LONGEST_PAUSE_S
    await one.accounts.sign_in("ada@example.org", PASSWORD, address="2001:db8::2")
    assert len(pauses) == 10, "they have signed in from this network before"
    await one.accounts.sign_in("ada@example.org", PASSWORD, address="198.51.100.1")
    assert len(pauses) == 11, "from elsewhere they are slowed down, and let in"


async def test_guesses_at_an_account_that_is_not_there_are_slowed_down_the_same(start: Start) -> None:
    pauses: list[float] = []

    async def sleep(pause_s: float) -> None:
        pauses.append(pause_s)

    one = await start(brake=SignInBrake(clock=lambda: 0.0, sleep=sleep))
    await one.sign_up("ada")
    seen = []
    for email in ("ada@example.org", "nobody@example.org"):
        for number in range(GUESSES_OF_ONE + 3):
            await refused(WrongCredentials, one.accounts.sign_in(email, "a guess", address=f"192.0.2.{number}"))
        seen.append(list(pauses))
        pauses.clear()
    assert seen[0] == seen[1] and len(seen[0]) == 3


async def test_sign_ups_that_meet_known_addresses_are_few(one: Process) -> None:
    await one.sign_up("ada")
    for _ in range(TAKEN_FROM_ONE_PLACE):
        await refused(ClaimTaken, one.accounts.sign_up("Eve", "ada@example.org", PASSWORD, address="192.0.2.1"))
    for email in ("ada@example.org", "unknown@example.org"):
        await refused(TooManyAttempts, one.accounts.sign_up("Eve", email, PASSWORD, address="192.0.2.1"))
    await one.accounts.sign_up("Bob", "bob@example.org", PASSWORD, address="192.0.2.2")


async def test_where_sign_up_is_off_a_known_address_is_told_from_an_unknown_one_by_nothing(start: Start) -> None:
    one = await start(signup_enabled=False)
    await one.sign_up("ada", "admin")
    asked = one.hasher.asked
    said = []
    for email in ("ada@example.org", "unknown@example.org"):
        with pytest.raises(Forbidden) as raised:
            await one.accounts.sign_up("Eve", email, PASSWORD)
        said.append(str(raised.value))
    assert said[0] == said[1]
    assert one.hasher.asked == asked


async def test_a_new_password_is_as_hard_to_guess_as_a_first_one(one: Process) -> None:
    root, bob = await one.sign_up("root"), await one.sign_up("bob")
    for weak in ("password1234", "bob@example.org", "qwertyuiop"):
        await refused(BadRequest, one.accounts.change_password(bob, PASSWORD, weak))
        await refused(BadRequest, one.accounts.reset_password(root, bob.user_id, weak))
        await refused(BadRequest, one.accounts.add(root, "Bob", "bob@example.org", weak, "user"))
    assert one.accounts.still_valid(bob)
    await one.accounts.sign_in("bob@example.org", PASSWORD)


async def test_a_new_password_ends_every_token_everywhere(one: Process, two: Process) -> None:
    await one.sign_up("ada")
    here, there = await one.accounts.sign_in("ada@example.org", PASSWORD), await two.accounts.sign_in("ada@example.org", PASSWORD)
    await refused(BadRequest, one.accounts.change_password(here.principal, "incorrect horse", OTHER_PASSWORD))
    await refused(BadRequest, one.accounts.change_password(here.principal, PASSWORD, "short"))
    await one.accounts.change_password(here.principal, PASSWORD, OTHER_PASSWORD)
    assert not one.accounts.still_valid(here.principal)
    await two.hear()
    assert not two.accounts.still_valid(there.principal)
    await refused(NotAuthenticated, two.accounts.authenticate(there.token))
    await refused(WrongCredentials, two.accounts.sign_in("ada@example.org", PASSWORD))
    await two.accounts.sign_in("ada@example.org", OTHER_PASSWORD)


async def test_a_change_of_password_that_was_cut_off_is_finished_by_asking_again(one: Process) -> None:
    await one.sign_up("ada")
    session = await one.accounts.sign_in("ada@example.org", PASSWORD)
    await one.credentials.add_password(session.principal.user_id, f"plain {OTHER_PASSWORD}")  # and then the server died
    assert one.accounts.still_valid(session.principal)
    await one.accounts.change_password(session.principal, PASSWORD, OTHER_PASSWORD)
    assert not one.accounts.still_valid(session.principal)


# --------------------------------------------------------------------------------------------------------------- admins


async def roles_of(process: Process, *principals: Principal) -> list[str]:
    accounts = [await process.accounts.account(principal.user_id, fresh=True) for principal in principals]
    return [account.role if account.active else "gone" for account in accounts]


@pytest.mark.parametrize("ending", ["demoted", "deactivated"])
async def test_two_admins_who_end_each_other_at_once_leave_one(one: Process, two: Process, ending: str) -> None:
    def command(target: Principal) -> ChangeRole | DeactivateUser:
        if ending == "demoted":
            return ChangeRole(user_id=target.user_id, by=None, role="user")
        return DeactivateUser(user_id=target.user_id, by=None)

    root = await one.sign_up("root", "admin")
    for number in range(5):
        pair = [await one.sign_up(f"a{number}"), await one.sign_up(f"b{number}")]
        for person in pair:
            await one.accounts.change(root, ChangeRole(user_id=person.user_id, by=None, role="admin"))
        first, second = [msgspec.structs.replace(person, role="admin") for person in pair]
        outcomes = await asyncio.gather(
            one.accounts.change(first, command(second)), two.accounts.change(second, command(first)), return_exceptions=True
        )
        assert sum(isinstance(outcome, Forbidden) for outcome in outcomes) == 1, outcomes
        assert sorted(await roles_of(one, first, second)) == sorted(["admin", "user" if ending == "demoted" else "gone"])


@pytest.mark.parametrize("ending", ["demoted", "deactivated"])
async def test_an_admin_who_ends_between_an_act_s_decision_and_its_commit_has_not_acted(one: Process, ending: str) -> None:
    root, bob = await one.sign_up("root"), await one.sign_up("bob")
    await one.accounts.change(root, ChangeRole(user_id=bob.user_id, by=None, role="admin"))
    log = CountedLog(one.log)
    elsewhere = Process(log, one.credentials, one.tickets)
    admin = (await elsewhere.accounts.sign_in("bob@example.org", PASSWORD)).principal

    async def ended() -> None:
        command = DeactivateUser(user_id=bob.user_id, by=None)
        await one.accounts.change(root, command if ending == "deactivated" else ChangeRole(user_id=bob.user_id, by=None, role="user"))

    log.appending = ended
    await refused(Forbidden, elsewhere.accounts.change(admin, ChangeRole(user_id=root.user_id, by=None, role="user")))
    assert await roles_of(one, root, bob) == ["admin", "gone" if ending == "deactivated" else "user"]


async def test_an_admin_who_was_demoted_elsewhere_can_do_nothing_to_others_at_once(one: Process, two: Process) -> None:
    root, bob = await one.sign_up("root"), await one.sign_up("bob")
    await one.accounts.change(root, ChangeRole(user_id=bob.user_id, by=None, role="admin"))
    admin = await two.accounts.authenticate((await two.accounts.sign_in("bob@example.org", PASSWORD)).token)
    await one.accounts.change(root, ChangeRole(user_id=bob.user_id, by=None, role="user"))
    assert admin.role == "admin"  # this process has not heard of it yet
    assert two.accounts.still_valid(admin)
    await refused(Forbidden, two.accounts.change(admin, ChangeRole(user_id=root.user_id, by=None, role="user")))
    await refused(Forbidden, two.accounts.change(admin, RenameUser(user_id=root.user_id, by=None, name="Fool")))
    await refused(Forbidden, two.accounts.add(admin, "Carl", "carl@example.org", PASSWORD, "admin"))
    await refused(Forbidden, two.accounts.reset_password(admin, root.user_id, OTHER_PASSWORD))
    await one.accounts.sign_in("root@example.org", PASSWORD)


async def test_an_admin_s_own_stream_may_be_busy(one: Process, two: Process) -> None:
    root, bob = await one.sign_up("root"), await one.sign_up("bob")
    busy = asyncio.gather(*(two.accounts.handle(ChangeSettings(user_id=root.user_id, fields={"n": number})) for number in range(20)))
    for role in ("auditor", "analyst", "user"):
        assert (await one.accounts.change(root, ChangeRole(user_id=bob.user_id, by=None, role=role))).role == role
    await busy


async def test_an_admin_adds_accounts_and_nobody_else_does(one: Process) -> None:
    root, bob = await one.sign_up("root"), await one.sign_up("bob")
    user_id, account = await one.accounts.add(root, "Carl", "Carl@example.org", OTHER_PASSWORD, "analyst")
    assert (account.email, account.role) == ("carl@example.org", "analyst")
    assert (await one.accounts.sign_in("carl@example.org", OTHER_PASSWORD)).principal.user_id == user_id
    await refused(ClaimTaken, one.accounts.add(root, "Carl", "carl@example.org", OTHER_PASSWORD, "analyst"))
    await refused(Forbidden, one.accounts.add(bob, "Eve", "eve@example.org", OTHER_PASSWORD, "user"))


async def test_an_admin_sets_another_password_and_every_token_of_it_ends(one: Process) -> None:
    root, bob = await one.sign_up("root"), await one.sign_up("bob")
    await one.accounts.reset_password(root, bob.user_id, OTHER_PASSWORD)
    assert not one.accounts.still_valid(bob)
    await one.accounts.sign_in("bob@example.org", OTHER_PASSWORD)
    await refused(Forbidden, one.accounts.reset_password(bob, root.user_id, OTHER_PASSWORD))
    await refused(UserNotFound, one.accounts.reset_password(root, uuid4(), OTHER_PASSWORD))
    await refused(BadRequest, one.accounts.reset_password(root, bob.user_id, "short"))


async def test_an_account_that_is_not_there_cannot_be_changed(one: Process) -> None:
    root = await one.sign_up("root")
    await refused(UserNotFound, one.accounts.change(root, ChangeRole(user_id=uuid4(), by=None, role="user")))


# ------------------------------------------------------------------------------------------- who is calling, on every process


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
    session = await two.accounts.sign_in("bob@example.org", PASSWORD)
    bob = await two.accounts.authenticate(session.token)
    await one.accounts.change(root, command(bob))
    assert two.accounts.still_valid(bob)
    await two.hear()
    assert not two.accounts.still_valid(bob)


async def test_one_token_is_signed_out_and_the_others_go_on(one: Process, two: Process) -> None:
    await one.sign_up("ada")
    first, second = [await two.accounts.sign_in("ada@example.org", PASSWORD) for _ in range(2)]
    await one.accounts.sign_out(first.principal)
    await two.hear()
    await refused(NotAuthenticated, two.accounts.authenticate(first.token))
    await two.accounts.authenticate(second.token)
    assert two.accounts.still_valid(second.principal)


async def test_what_happens_to_somebody_else_changes_nothing(one: Process, two: Process) -> None:
    root, bob = await one.sign_up("root"), await one.sign_up("bob")
    here = await two.accounts.authenticate((await two.accounts.sign_in("root@example.org", PASSWORD)).token)
    await one.accounts.change(root, DeactivateUser(user_id=bob.user_id, by=None))
    await two.hear()
    assert two.accounts.still_valid(here)


class CountedLog:
    """A log that counts what it is asked, and can be held up before an append or in the middle of an answer."""

    def __init__(self, log: Any) -> None:
        self._log = log
        self.asked = 0
        self.answered: Callable[[], Awaitable[None]] | None = None
        self.appending: Callable[[], Awaitable[None]] | None = None

    async def append(self, request: AppendRequest) -> Appended:
        if self.appending is not None:
            hold, self.appending = self.appending, None
            await hold()
        appended: Appended = await self._log.append(request)
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
    session = await process.accounts.sign_in("ada@example.org", PASSWORD)
    key = await process.key(session.principal)
    await process.accounts.authenticate(key)
    asked = log.asked
    for _ in range(10):
        assert process.accounts.still_valid(await process.accounts.authenticate(session.token))
        assert process.accounts.still_valid(await process.accounts.authenticate(key))
    assert log.asked == asked


async def test_what_passes_while_an_account_is_read_is_not_missed(one: Process) -> None:
    root, bob = await one.sign_up("root"), await one.sign_up("bob")
    token = (await one.accounts.sign_in("bob@example.org", PASSWORD)).token
    log = CountedLog(one.log)
    cold = Process(log, one.credentials, one.tickets)
    await cold.hear()

    async def demoted_meanwhile() -> None:
        await one.accounts.change(root, ChangeRole(user_id=bob.user_id, by=None, role="auditor"))
        await cold.hear()

    log.answered = demoted_meanwhile  # after the stream's version was read, before anybody knows of it
    found = await cold.accounts.authenticate(token)
    assert found.role == "auditor"
    assert cold.accounts.still_valid(found)


async def test_a_caller_with_an_open_connection_is_never_forgotten(start: Start) -> None:
    one, small = await start(), await start(known_max=1)
    root = await one.sign_up("root")
    for name in ("bob", "carl"):
        await one.sign_up(name)
    tokens = [(await small.accounts.sign_in(f"{name}@example.org", PASSWORD)).token for name in ("bob", "carl")]
    bob, carl = [await small.accounts.authenticate(token) for token in tokens]
    assert small.accounts.still_valid(bob)
    assert small.accounts.still_valid(carl)
    await one.accounts.change(root, DeactivateUser(user_id=bob.user_id, by=None))
    await small.hear()
    assert not small.accounts.still_valid(bob)
    assert small.accounts.still_valid(carl)


async def test_a_hole_in_what_passes_is_no_reason_to_trust(one: Process, two: Process) -> None:
    await one.sign_up("ada")
    session = await two.accounts.sign_in("ada@example.org", PASSWORD)
    for number in range(2):
        await one.accounts.handle(ChangeSettings(user_id=session.principal.user_id, fields={"n": number}))
    newest = (await one.log.read_log(after=0, limit=100))[-1]
    two.accounts.observe(newest)
    assert not two.accounts.still_valid(session.principal)
    assert two.accounts.still_valid(await two.accounts.authenticate(session.token))


async def test_a_token_ends_with_its_time(start: Start) -> None:
    clock = [1_000_000_000_000.0]  # far ahead, since the signature has a clock of its own
    one = await start(now=lambda: clock[0], token_lifetime_s=60)
    await one.sign_up("ada")
    session = await one.accounts.sign_in("ada@example.org", PASSWORD)
    caller = await one.accounts.authenticate(session.token)
    clock[0] += 59
    assert one.accounts.still_valid(caller)
    clock[0] += 1
    assert not one.accounts.still_valid(caller)
    await refused(NotAuthenticated, one.accounts.authenticate(session.token))


@pytest.mark.parametrize("credential", ["", "x", "sk-", "sk-unknown", "ü", "sk-ü", "\ud800", "x" * 5000, "a.b.c"])
async def test_a_credential_that_is_none_opens_nothing(one: Process, credential: str) -> None:
    await refused(NotAuthenticated, one.accounts.authenticate(credential))
    await refused(NotAuthenticated, one.accounts.redeem(credential))


async def test_a_key_works_on_every_process_until_it_is_revoked(one: Process, two: Process) -> None:
    ada = await one.sign_up("ada")
    key = await one.key(ada, "laptop")
    caller = await two.accounts.authenticate(key)
    assert (caller.user_id, caller.token_id, caller.expires_at) == (ada.user_id, None, None)
    await one.accounts.change(ada, RevokeTokens(user_id=ada.user_id, by=None))
    await two.hear()
    assert two.accounts.still_valid(caller)  # a key is no token
    await one.api_keys.revoke_all(ada, ada.user_id)
    await two.hear()
    assert not two.accounts.still_valid(caller)
    await refused(NotAuthenticated, two.accounts.authenticate(key))


async def test_a_ticket_opens_once_on_any_process(one: Process, two: Process) -> None:
    await one.sign_up("ada")
    session = await one.accounts.sign_in("ada@example.org", PASSWORD)
    ticket = await one.accounts.ticket(session.principal)
    caller = await two.accounts.redeem(ticket)
    assert (caller.user_id, caller.token_id, caller.expires_at) == (
        session.principal.user_id,
        session.principal.token_id,
        session.expires_at,
    )
    assert two.accounts.still_valid(caller)
    for process in (one, two):
        await refused(NotAuthenticated, process.accounts.redeem(ticket))


async def test_a_ticket_is_worth_no_more_than_the_session_it_was_made_in(one: Process) -> None:
    ada = await one.sign_up("ada")
    session = await one.accounts.sign_in("ada@example.org", PASSWORD)
    key = await one.accounts.authenticate(await one.key(ada))
    of_token, of_key = await one.accounts.ticket(session.principal), await one.accounts.ticket(key)
    await one.accounts.sign_out(session.principal)
    await refused(NotAuthenticated, one.accounts.redeem(of_token))
    assert (await one.accounts.redeem(of_key)).api_key_id == key.api_key_id
    of_key = await one.accounts.ticket(key)
    await one.api_keys.revoke_all(ada, ada.user_id)
    await refused(NotAuthenticated, one.accounts.redeem(of_key))


async def test_no_secret_stands_in_the_log(one: Process) -> None:
    ada = await one.sign_up("ada")
    key = await one.key(ada)
    ticket = await one.accounts.ticket(ada)
    await one.accounts.change_password(ada, PASSWORD, OTHER_PASSWORD)
    events: Sequence[StoredEvent] = await one.log.read_log(after=0, limit=100)
    said = b"".join(stored.data + (stored.actor or b"") for stored in events).decode()
    for secret in (PASSWORD, OTHER_PASSWORD, "plain", key, ticket):
        assert secret not in said
