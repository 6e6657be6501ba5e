"""Rows of a COPY as libpq hands them out. The driver's own way takes longer for each, and there are millions."""

import select
from collections.abc import Iterator
from typing import Final

import psycopg
from psycopg.pq.abc import PGconn

WAIT_S: Final = 0.5  # for Postgres, before it is looked whether somebody pressed Ctrl-C


def messages(pgconn: PGconn) -> Iterator[bytes]:
    """The messages of a COPY. The caller recognises the last one and asks for no more: this generator does not end by itself.

    Raises ``psycopg.OperationalError`` if it was broken off.
    """
    get_copy_data = pgconn.get_copy_data
    while True:
        size_bytes, data = get_copy_data(1)
        if size_bytes > 0:
            yield bytes(data)
        elif size_bytes < 0:
            raise broken_off(pgconn)
        else:
            select.select([pgconn.socket], [], [], WAIT_S)
            pgconn.consume_input()


def broken_off(pgconn: PGconn) -> psycopg.OperationalError:
    """Why there is no more, although the end was not seen. The connection is as it was before, if it is still there."""
    why = ""
    while (result := pgconn.get_result()) is not None:
        why = why or result.get_error_message()
    return psycopg.OperationalError(why or pgconn.get_error_message())
