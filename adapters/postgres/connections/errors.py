"""What a command tells its operator when Postgres fails: the driver's exceptions under one name of our own."""

import contextlib
from collections.abc import Iterator

import psycopg


class DatabaseError(RuntimeError):
    """Postgres cannot be reached, or refused a statement. The text is what Postgres or the driver said.

    ├── DatabaseUnreachable   it does not answer, refuses the login, or ended the connection
    └── UnfitDatabase         it cannot hold the log, or a pooler before it cannot be used; nothing was written
    """


class DatabaseUnreachable(DatabaseError):
    pass


class UnfitDatabase(DatabaseError):
    pass


@contextlib.contextmanager
def database_errors() -> Iterator[None]:
    """Inside of it the driver's exceptions become a ``DatabaseError``."""
    try:
        yield
    except psycopg.OperationalError as error:
        raise DatabaseUnreachable(str(error)) from error
    except psycopg.Error as error:
        raise DatabaseError(str(error)) from error
