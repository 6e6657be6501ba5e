"""Accounts on a log: who becomes admin, who is let in, and what admins may do to others."""

import asyncio
from uuid import uuid4

import msgspec
import pytest

from commands.accounts.accounts import PASSWORD_CHARACTERS, normal_email
from commands.accounts.attempts import (
    GUESSES_OF_ONE,
    GUESSES_OF_ONE_FROM_ONE_PLACE,
    LONGEST_PAUSE_S,
    TAKEN_FROM_ONE_PLACE,
    SignInBrake,
)
from commands.accounts.principal import Principal
from domain.accounts.user.commands import ChangeRole, ChangeSettings, DeactivateUser, RenameUser
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
from tests.commands.accounts.processes import OTHER_PASSWORD, PASSWORD, Process, Start, refused
from tests.commands.accounts.test_authentication import CountedLog

pytestmark = pytest.mark.anyio


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
