"""Who may make an account, and who becomes admin."""

import asyncio

import pytest

from commands.accounts.attempts import TAKEN_FROM_ONE_PLACE
from commands.accounts.passwords import PASSWORD_CHARACTERS
from commands.accounts.principal import Principal
from domain.errors import BadRequest, ClaimTaken, Forbidden, TooManyAttempts
from tests.commands.accounts.processes import OTHER_PASSWORD, PASSWORD, Process, Start, refused

pytestmark = pytest.mark.anyio


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
    await refused(BadRequest, one.registration.sign_up(name, email, password))
    assert one.hasher.asked == 0


async def test_a_taken_email_is_refused_before_any_work(one: Process) -> None:
    await one.sign_up("ada")
    asked = one.hasher.asked
    await refused(ClaimTaken, one.registration.sign_up("Eve", " ADA@Example.org ", PASSWORD))
    assert one.hasher.asked == asked


async def test_sign_ups_that_meet_known_addresses_are_few(one: Process) -> None:
    await one.sign_up("ada")
    for _ in range(TAKEN_FROM_ONE_PLACE):
        await refused(ClaimTaken, one.registration.sign_up("Eve", "ada@example.org", PASSWORD, address="192.0.2.1"))
    for email in ("ada@example.org", "unknown@example.org"):
        await refused(TooManyAttempts, one.registration.sign_up("Eve", email, PASSWORD, address="192.0.2.1"))
    await one.registration.sign_up("Bob", "bob@example.org", PASSWORD, address="192.0.2.2")


async def test_where_sign_up_is_off_a_known_address_is_told_from_an_unknown_one_by_nothing(start: Start) -> None:
    one = await start(signup_enabled=False)
    await one.sign_up("ada", "admin")
    asked = one.hasher.asked
    said = []
    for email in ("ada@example.org", "unknown@example.org"):
        with pytest.raises(Forbidden) as raised:
            await one.registration.sign_up("Eve", email, PASSWORD)
        said.append(str(raised.value))
    assert said[0] == said[1]
    assert one.hasher.asked == asked


async def test_an_admin_adds_accounts_and_nobody_else_does(one: Process) -> None:
    root, bob = await one.sign_up("root"), await one.sign_up("bob")
    user_id, account = await one.registration.add(root, "Carl", "Carl@example.org", OTHER_PASSWORD, "analyst")
    assert (account.email, account.role) == ("carl@example.org", "analyst")
    assert (await one.passwords.sign_in("carl@example.org", OTHER_PASSWORD)).principal.user_id == user_id
    await refused(ClaimTaken, one.registration.add(root, "Carl", "carl@example.org", OTHER_PASSWORD, "analyst"))
    await refused(Forbidden, one.registration.add(bob, "Eve", "eve@example.org", OTHER_PASSWORD, "user"))
