"""What the imports of chats and of channels have in common: whose they become, and where a file broke off."""

from typing import TYPE_CHECKING, Any

from api.cli.login import Failed

if TYPE_CHECKING:
    from adapters.postgres.transfer.bulk_log import BulkLog


def broken_off(error: Any) -> str:
    where = f"; the chat that is broken begins at byte {error.item_offset:,}" if error.item_offset != error.offset else ""
    return f"{error}{where}"


async def owner_of(bulk: "BulkLog", email: str | None) -> Any:
    """The account that is named, or the only one. Raises ``Failed``."""
    from commands.accounts.accounts import normal_email
    from commands.aggregate import Aggregate
    from domain.accounts.user.evolve import evolve
    from domain.accounts.user.state import NO_ACCOUNT
    from domain.log.event import Actor

    if email is None:
        ids, count = await bulk.user_list.users(offset=0, limit=2)
        if not count:
            raise Failed("There is no account yet. Sign up first:  steno login")
        if count > 1:
            raise Failed(f"There are {count} accounts. Whose chats are they?  steno import --user EMAIL …")
        user_id = ids[0]
    else:
        stream = await bulk.log.find_claim("email", normal_email(email))
        if stream is None:
            raise Failed(f"There is no account {email}.")
        user_id = stream.id
    _, account = await Aggregate(bulk.log, "user", NO_ACCOUNT, evolve).state(user_id)
    return Actor(user_id, account.name, account.role)
