"""What an operator does for analysts: logins that may read the schema ``analytics`` and nothing else, pseudonyms, prices of models."""

import re
import secrets
from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from typing import Final

import msgspec
import psycopg
from psycopg import errors, sql

from adapters.postgres.connections.queries import text

NAME: Final = re.compile(r"[a-z_][a-z0-9_]{0,62}")
RESERVED: Final = ("pg_", "stenograph_")  # how names begin that are not for people
CONNECTIONS: Final = 5  # of one login
LOGIN_EXISTS: Final = text("login_exists")
CREATE_LOGIN: Final = text("create_analyst_login")
CHANGE_LOGIN: Final = text("change_analyst_login")
BOUND_LOGIN: Final = text("bound_analyst_login")
DROP_LOGIN: Final = text("drop_analyst_login")
ROLE_EXISTS: Final = text("analyst_role_exists")
SET_PSEUDONYMS: Final = text("set_pseudonyms")
PSEUDONYMS: Final = text("pseudonyms")
SET_PRICE: Final = text("set_model_price")
REMOVE_PRICE: Final = text("remove_model_price")
PRICES: Final = text("model_prices")


class AnalystRefused(Exception):
    """In words, for the operator: why nothing was changed."""


class Price(msgspec.Struct, frozen=True):
    """The price of a million tokens. The operator chooses the currency, and uses the same one for all models."""

    model_id: str
    since: date
    input_per_million: Decimal
    output_per_million: Decimal


def make_login(dsn: str, name: str, *, timeout_s: int, password: str | None = None) -> tuple[str, bool]:
    """A login of Postgres that may read the views and nothing else: its URL, and whether it is a new one.

    One that is there gets a new password. It is a stranger to every other table; it reads only, and a statement of it ends after
    ``timeout_s``: a person who knows SQL can lift these two for a session, and the first one not.
    """
    require_name(name)
    password = password or secrets.token_urlsafe(18)
    with psycopg.connect(dsn, autocommit=True, cursor_factory=psycopg.RawCursor) as connection, connection.transaction():
        if not connection.execute(ROLE_EXISTS).fetchall()[0][0]:
            raise AnalystRefused(
                "There is no role stenograph_analyst, and the owner of the database may not make one. Have an administrator run once "
                "CREATE ROLE stenograph_analyst NOLOGIN; then start the server anew, or run this again."
            )
        known = connection.execute(LOGIN_EXISTS, (name,)).fetchone()
        if known is not None and (not known[1] or known[2]):
            raise AnalystRefused(f"There is a role {name} already, and it is no analyst's. Choose another name.")
        # Hashed here: a statement may be written into the server's log.
        hashed = connection.pgconn.encrypt_password(password.encode(), name.encode(), b"scram-sha-256").decode()
        parts = {
            "name": sql.Identifier(name),
            "password": sql.Literal(hashed),
            "connections": sql.Literal(CONNECTIONS),
            "timeout": sql.Literal(f"{timeout_s}s"),
        }
        try:
            for statement in (CREATE_LOGIN if known is None else CHANGE_LOGIN, BOUND_LOGIN):
                connection.execute(sql.SQL(statement).format(**parts).as_string(connection).encode())
        except errors.InsufficientPrivilege as error:
            raise AnalystRefused(f"The user of the database may not make logins: {str(error).strip()}") from error
    return url_of(dsn, name, password), known is None


def drop_login(dsn: str, name: str) -> None:
    require_name(name)
    with psycopg.connect(dsn, autocommit=True, cursor_factory=psycopg.RawCursor) as connection:
        known = connection.execute(LOGIN_EXISTS, (name,)).fetchone()
        if known is None or not known[1] or known[2]:
            raise AnalystRefused(f"There is no analyst {name}.")
        connection.execute(sql.SQL(DROP_LOGIN).format(name=sql.Identifier(name)).as_string(connection).encode())


def require_name(name: str) -> None:
    if not NAME.fullmatch(name) or name.startswith(RESERVED):
        raise AnalystRefused(
            f"{name!r} is no name for a login: small letters, digits and _, and no {' or '.join(RESERVED)} at its beginning."
        )


def url_of(dsn: str, name: str, password: str) -> str:
    """The same database for another user."""
    parts = {**psycopg.conninfo.conninfo_to_dict(dsn), "user": name, "password": password}
    return psycopg.conninfo.make_conninfo(**parts)  # type: ignore[arg-type]


def pseudonyms(dsn: str, wanted: bool | None = None) -> bool:
    """Whether analysts see pseudonyms in place of ids; ``wanted`` changes it."""
    with psycopg.connect(dsn, autocommit=True, cursor_factory=psycopg.RawCursor) as connection:
        if wanted is not None:
            connection.execute(SET_PSEUDONYMS, (wanted,))
        return bool(connection.execute(PSEUDONYMS).fetchall()[0][0])


def set_price(dsn: str, model_id: str, since: date, input_per_million: Decimal, output_per_million: Decimal) -> None:
    """What a model costs from that day on, until its next price."""
    with psycopg.connect(dsn, autocommit=True, cursor_factory=psycopg.RawCursor) as connection:
        connection.execute(SET_PRICE, (model_id, since, input_per_million, output_per_million))


def remove_price(dsn: str, model_id: str, since: date) -> bool:
    """Whether there was one."""
    with psycopg.connect(dsn, autocommit=True, cursor_factory=psycopg.RawCursor) as connection:
        return connection.execute(REMOVE_PRICE, (model_id, since)).fetchone() is not None


def prices(dsn: str) -> Sequence[Price]:
    with psycopg.connect(dsn, autocommit=True) as connection:
        return [Price(*row) for row in connection.execute(PRICES).fetchall()]
