"""Accounts on a log: how their e-mail addresses are written, and what admins may do to others."""

import asyncio
from uuid import uuid4

import msgspec
import pytest

from commands.accounts.accounts import normal_email
from commands.accounts.principal import Principal
from domain.accounts.user.commands import ChangeRole, ChangeSettings, DeactivateUser, RenameUser
from domain.errors import Forbidden, UserNotFound
from tests.commands.accounts.processes import OTHER_PASSWORD, PASSWORD, Process, refused
from tests.commands.accounts.test_authentication import CountedLog

pytestmark = pytest.mark.anyio


async def test_one_email_written_in_two_ways_is_one() -> None:
    assert normal_email(" Rene\u0301@Example.ORG\n") == normal_email("ren\u00e9@example.org")


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
    admin = (await elsewhere.passwords.sign_in("bob@example.org", PASSWORD)).principal

    async def ended() -> None:
        command = DeactivateUser(user_id=bob.user_id, by=None)
        await one.accounts.change(root, command if ending == "deactivated" else ChangeRole(user_id=bob.user_id, by=None, role="user"))

    log.appending = ended
    await refused(Forbidden, elsewhere.accounts.change(admin, ChangeRole(user_id=root.user_id, by=None, role="user")))
    assert await roles_of(one, root, bob) == ["admin", "gone" if ending == "deactivated" else "user"]


async def test_an_admin_who_was_demoted_elsewhere_can_do_nothing_to_others_at_once(one: Process, two: Process) -> None:
    root, bob = await one.sign_up("root"), await one.sign_up("bob")
    await one.accounts.change(root, ChangeRole(user_id=bob.user_id, by=None, role="admin"))
    admin = await two.authentication.authenticate((await two.passwords.sign_in("bob@example.org", PASSWORD)).token)
    await one.accounts.change(root, ChangeRole(user_id=bob.user_id, by=None, role="user"))
    assert admin.role == "admin"  # this process has not heard of it yet
    assert two.authentication.still_valid(admin)
    await refused(Forbidden, two.accounts.change(admin, ChangeRole(user_id=root.user_id, by=None, role="user")))
    await refused(Forbidden, two.accounts.change(admin, RenameUser(user_id=root.user_id, by=None, name="Fool")))
    await refused(Forbidden, two.registration.add(admin, "Carl", "carl@example.org", PASSWORD, "admin"))
    await refused(Forbidden, two.passwords.reset(admin, root.user_id, OTHER_PASSWORD))
    await one.passwords.sign_in("root@example.org", PASSWORD)


async def test_an_admin_s_own_stream_may_be_busy(one: Process, two: Process) -> None:
    root, bob = await one.sign_up("root"), await one.sign_up("bob")
    busy = asyncio.gather(*(two.accounts.handle(ChangeSettings(user_id=root.user_id, fields={"n": number})) for number in range(20)))
    for role in ("auditor", "analyst", "user"):
        assert (await one.accounts.change(root, ChangeRole(user_id=bob.user_id, by=None, role=role))).role == role
    await busy


async def test_an_account_that_is_not_there_cannot_be_changed(one: Process) -> None:
    root = await one.sign_up("root")
    await refused(UserNotFound, one.accounts.change(root, ChangeRole(user_id=uuid4(), by=None, role="user")))
