"""Signing in with a password, and changing it."""

from uuid import uuid4

import pytest

from commands.accounts.attempts import GUESSES_OF_ONE, GUESSES_OF_ONE_FROM_ONE_PLACE, LONGEST_PAUSE_S, SignInBrake
from commands.accounts.passwords import PASSWORD_CHARACTERS
from domain.accounts.user.commands import DeactivateUser
from domain.errors import AccountInactive, BadRequest, Forbidden, NotAuthenticated, TooManyAttempts, UserNotFound, WrongCredentials
from tests.commands.accounts.processes import OTHER_PASSWORD, PASSWORD, Process, Start, refused

pytestmark = pytest.mark.anyio


def brake_that_notes(pauses: list[float]) -> SignInBrake:
    async def sleep(pause_s: float) -> None:
        pauses.append(pause_s)

    return SignInBrake(clock=lambda: 0.0, sleep=sleep)


async def test_a_person_signs_in_with_the_right_password_on_any_process(one: Process, two: Process) -> None:
    made = await one.sign_up("ada")
    signed_in = await two.passwords.sign_in("Ada@example.org", PASSWORD)
    assert signed_in.principal.user_id == made.user_id
    assert (await one.authentication.authenticate(signed_in.token)).user_id == made.user_id


@pytest.mark.parametrize("email", ["ada@example.org", "nobody@example.org", "no address", "nul\u0000@example.org", ""])
async def test_a_wrong_email_and_a_wrong_password_cost_the_same_work(one: Process, email: str) -> None:
    await one.sign_up("ada")
    asked = one.hasher.asked
    for wrong in ("incorrect horse", "", PASSWORD + "x" * PASSWORD_CHARACTERS[1]):
        await refused(WrongCredentials, one.passwords.sign_in(email, wrong))
    assert one.hasher.asked == asked + 3


async def test_a_deactivated_account_is_told_so_only_with_its_password(one: Process) -> None:
    admin, bob = await one.sign_up("ada"), await one.sign_up("bob")
    await one.accounts.change(admin, DeactivateUser(user_id=bob.user_id, by=None))
    await refused(AccountInactive, one.passwords.sign_in("bob@example.org", PASSWORD))
    await refused(WrongCredentials, one.passwords.sign_in("bob@example.org", OTHER_PASSWORD))


async def test_an_old_password_that_is_changed_in_the_middle_of_a_sign_in_opens_nothing(one: Process, two: Process) -> None:
    ada = await one.sign_up("ada")
    verify = two.hasher.verify

    async def changed_meanwhile(password: str, password_hash: str | None) -> bool:
        await one.passwords.change(ada, PASSWORD, OTHER_PASSWORD)
        return await verify(password, password_hash)

    two.hasher.verify = changed_meanwhile  # type: ignore[method-assign]  # the moment between reading the hash and the answer
    stale = await two.passwords.sign_in("ada@example.org", PASSWORD)
    await two.hear()
    await refused(NotAuthenticated, two.authentication.authenticate(stale.token))
    await refused(NotAuthenticated, one.authentication.authenticate(stale.token))


async def test_who_guesses_is_slowed_down_and_the_right_password_does_not_reset_it(one: Process) -> None:
    await one.sign_up("ada")
    await one.sign_up("eve")
    for number in range(GUESSES_OF_ONE_FROM_ONE_PLACE):
        await refused(WrongCredentials, one.passwords.sign_in("ada@example.org", f"guess number {number}", address="192.0.2.1"))
        await one.passwords.sign_in("eve@example.org", PASSWORD, address="192.0.2.1")
    await refused(TooManyAttempts, one.passwords.sign_in("ada@example.org", PASSWORD, address="192.0.2.1"))
    await one.passwords.sign_in("ada@example.org", PASSWORD, address="192.0.2.2")


async def test_the_owner_is_let_in_without_a_wait_while_a_thousand_places_guess(start: Start) -> None:
    pauses: list[float] = []
    one = await start(brake=brake_that_notes(pauses))
    await one.sign_up("ada")
    await one.passwords.sign_in("ada@example.org", PASSWORD, address="2001:db8::1")
    for number in range(GUESSES_OF_ONE + 10):
        await refused(WrongCredentials, one.passwords.sign_in("ada@example.org", "a guess", address=f"192.0.2.{number}"))
    assert len(pauses) == 10 and pauses == sorted(pauses) and pauses[0] < pauses[-1] == LONGEST_PAUSE_S
    await one.passwords.sign_in("ada@example.org", PASSWORD, address="2001:db8::2")
    assert len(pauses) == 10, "they have signed in from this network before"
    await one.passwords.sign_in("ada@example.org", PASSWORD, address="198.51.100.1")
    assert len(pauses) == 11, "from elsewhere they are slowed down, and let in"


async def test_guesses_at_an_account_that_is_not_there_are_slowed_down_the_same(start: Start) -> None:
    pauses: list[float] = []
    one = await start(brake=brake_that_notes(pauses))
    await one.sign_up("ada")
    seen = []
    for email in ("ada@example.org", "nobody@example.org"):
        for number in range(GUESSES_OF_ONE + 3):
            await refused(WrongCredentials, one.passwords.sign_in(email, "a guess", address=f"192.0.2.{number}"))
        seen.append(list(pauses))
        pauses.clear()
    assert seen[0] == seen[1] and len(seen[0]) == 3


async def test_a_new_password_is_as_hard_to_guess_as_a_first_one(one: Process) -> None:
    root, bob = await one.sign_up("root"), await one.sign_up("bob")
    for weak in ("password1234", "bob@example.org", "qwertyuiop"):
        await refused(BadRequest, one.passwords.change(bob, PASSWORD, weak))
        await refused(BadRequest, one.passwords.reset(root, bob.user_id, weak))
        await refused(BadRequest, one.registration.add(root, "Bob", "bob@example.org", weak, "user"))
    assert one.authentication.still_valid(bob)
    await one.passwords.sign_in("bob@example.org", PASSWORD)


async def test_a_new_password_ends_every_token_everywhere(one: Process, two: Process) -> None:
    await one.sign_up("ada")
    here, there = await one.passwords.sign_in("ada@example.org", PASSWORD), await two.passwords.sign_in("ada@example.org", PASSWORD)
    await refused(BadRequest, one.passwords.change(here.principal, "incorrect horse", OTHER_PASSWORD))
    await refused(BadRequest, one.passwords.change(here.principal, PASSWORD, "short"))
    await one.passwords.change(here.principal, PASSWORD, OTHER_PASSWORD)
    assert not one.authentication.still_valid(here.principal)
    await two.hear()
    assert not two.authentication.still_valid(there.principal)
    await refused(NotAuthenticated, two.authentication.authenticate(there.token))
    await refused(WrongCredentials, two.passwords.sign_in("ada@example.org", PASSWORD))
    await two.passwords.sign_in("ada@example.org", OTHER_PASSWORD)


async def test_a_change_of_password_that_was_cut_off_is_finished_by_asking_again(one: Process) -> None:
    await one.sign_up("ada")
    session = await one.passwords.sign_in("ada@example.org", PASSWORD)
    await one.credentials.add_password(session.principal.user_id, f"plain {OTHER_PASSWORD}")  # and then the server died
    assert one.authentication.still_valid(session.principal)
    await one.passwords.change(session.principal, PASSWORD, OTHER_PASSWORD)
    assert not one.authentication.still_valid(session.principal)


async def test_an_admin_sets_another_password_and_every_token_of_it_ends(one: Process) -> None:
    root, bob = await one.sign_up("root"), await one.sign_up("bob")
    await one.passwords.reset(root, bob.user_id, OTHER_PASSWORD)
    assert not one.authentication.still_valid(bob)
    await one.passwords.sign_in("bob@example.org", OTHER_PASSWORD)
    await refused(Forbidden, one.passwords.reset(bob, root.user_id, OTHER_PASSWORD))
    await refused(UserNotFound, one.passwords.reset(root, uuid4(), OTHER_PASSWORD))
    await refused(BadRequest, one.passwords.reset(root, bob.user_id, "short"))
