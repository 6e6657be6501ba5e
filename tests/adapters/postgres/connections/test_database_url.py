"""``DATABASE_URL``: one meaning on both drivers, and one line, without a value, for what they do not both take."""

import socket
import ssl
from urllib.parse import unquote

import asyncpg
import psycopg
import pytest

from adapters.postgres.connections.connection import connect, pool
from adapters.postgres.connections.database_url import BadDatabaseUrl, for_asyncpg, require_database_url, unless_given
from adapters.projector.writer import connect as connect_projector

SECRET = "hunter2"

REFUSED = [
    ("sqlite:///{}", "the scheme sqlite is not Postgres's"),
    ("mysql://u:{}@h/d", "the scheme mysql is not Postgres's"),
    ("postgresql+psycopg2://u:{}@h/d", "leave out what follows the +"),
    ("postgresql+asyncpg://u:{}@h/d", "leave out what follows the +"),
    ("host=h password={}", "begins with postgresql://"),
    ("{}", "begins with postgresql://"),
    ("Pg{}://u@h/d", "the scheme is not Postgres's"),
    ("postgresql://u:{}%@h/d", "hexadecimal"),
    ("postgresql://u:{}%zz@h/d", "hexadecimal"),
    ("postgresql://u:a@{}@h/d", "more than one @"),
    ("postgresql://u:a/{}@h/d", "the port is not a number"),
    ("postgresql://u:1/{}@h/d", "the name of the database"),
    ("postgresql://u:a?{}@h/d", "there is an @ after the ?"),
    ("postgresql://u:a?{}=1@h/d", "there is an @ after the ?"),
    ("postgresql://u:{}@h:port/d", "the port is not a number from 1 to 65535"),
    ("postgresql://u:{}@h:0/d", "the port is not a number"),
    ("postgresql://u:{}@h:99999/d", "the port is not a number"),
    ("postgresql://u:{}@a,b,c/d?port=1,2", "2 ports for 3 hosts"),
    ("postgresql://u:{}@[::1/d", "libpq cannot read it"),
    ("postgresql://u:{}@h/d?jit=off", "the parameter jit is not supported"),
    ("postgresql://u:{}@h/d?sslmode", "the parameter sslmode has no value"),
    ("postgresql://u:{}@h/d?sslmode=on", "the parameter sslmode has to be allow or disable"),
    ("postgresql://u:{}@h/d?channel_binding=yes", "the parameter channel_binding has to be"),
    ("postgresql://u:{}@h/d?connect_timeout=5s", "the parameter connect_timeout has to be a whole number"),
    ("postgresql://u:{}@h/d?keepalives_idle=long", "the parameter keepalives_idle has to be a whole number"),
    ("postgresql://u:{}@h/d?gssencmode=require", "the parameter gssencmode has to be disable or prefer"),
    ("postgresql://u:{}@h/d?client_encoding=LATIN1", "the parameter client_encoding"),
    ("postgresql://u:{}@h/d?replication=database", "the parameter replication is not supported"),
    ("postgresql://u:{}@h/d?hostaddr=127.0.0.1&sslmode=verify-full", "the parameter hostaddr"),
]


@pytest.mark.parametrize(("url", "said"), REFUSED)
def test_what_both_drivers_do_not_take_is_one_line_that_names_the_part_and_shows_no_value(url: str, said: str) -> None:
    with pytest.raises(BadDatabaseUrl) as refused:
        require_database_url(url.format(SECRET))
    line = str(refused.value)
    assert said in line and "\n" not in line
    assert SECRET not in line


def with_parameters(dsn: str, parameters: str) -> str:
    return f"{dsn}{'&' if '?' in dsn else '?'}{parameters}"


PARAMETERS = [
    "channel_binding=prefer",
    "channel_binding=disable&sslmode=prefer",
    "connect_timeout=7",
    "keepalives=1&keepalives_idle=30&keepalives_interval=5&keepalives_count=2&tcp_user_timeout=9000",
    "keepalives=0",
    "sslmode=allow&sslnegotiation=postgres&sslcompression=0&sslsni=1",
    "target_session_attrs=read-write&load_balance_hosts=random",
    "gssencmode=disable&client_encoding=utf8&application_name=mine&fallback_application_name=other",
]


@pytest.mark.anyio
@pytest.mark.parametrize("parameters", PARAMETERS)
async def test_parameters_of_libpq_work_on_both_drivers(parameters: str, database: str) -> None:
    url = with_parameters(database, parameters)
    require_database_url(url)
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    one = await connect(url, application="test")
    assert await one.fetchval("SELECT current_user || ' ' || current_setting('application_name')") == "stenograph_app stenograph test"
    await one.close()
    many = await pool(url, connections_max=1)
    assert await many.fetchval("SELECT current_user") == "stenograph_app"
    await many.close()
    projecting = await connect_projector(url, [])
    assert (await (await projecting.execute("SELECT current_user")).fetchone()) == ("stenograph_app",)
    await projecting.close()


@pytest.mark.anyio
async def test_options_reach_the_server_through_both_drivers(database: str) -> None:
    url = with_parameters(database, "options=-c%20work_mem%3D5MB")
    require_database_url(url)
    with psycopg.connect(url) as connection:
        assert connection.execute("SHOW work_mem").fetchone() == ("5MB",)
    one = await connect(url, application="test")
    assert await one.fetchval("SHOW work_mem") == "5MB"
    await one.close()


def test_what_was_escaped_is_the_same_for_both() -> None:
    target = for_asyncpg("postgres://us%40er:p%2F%40%3F%23%25@[::1]:5433/a%20b?connect_timeout=3")
    assert target.arguments == {"user": "us@er", "password": "p/@?#%", "database": "a b", "host": ["::1"], "port": [5433]}
    assert target.connect_timeout_s == 3


def test_several_hosts_share_one_port_or_have_one_each() -> None:
    assert for_asyncpg("postgresql://a,b/d").arguments["port"] == [5432, 5432]
    assert for_asyncpg("postgresql://a:1,b:2/d").arguments == {"host": ["a", "b"], "port": [1, 2], "database": "d"}


def test_dead_connections_are_found_unless_keepalives_are_off() -> None:
    assert (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1) in for_asyncpg("postgresql://h/d").socket_options
    assert for_asyncpg("postgresql://h/d?keepalives=0&keepalives_idle=5").socket_options == ()
    given = for_asyncpg("postgresql://h/d?keepalives_idle=30&tcp_user_timeout=9000").socket_options
    assert (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30) in given and (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 9000) in given


def test_the_urls_own_numbers_beat_ours() -> None:
    assert unless_given("postgresql://h/d?connect_timeout=9", {"connect_timeout": 5, "keepalives_idle": 5}) == {"keepalives_idle": 5}


def test_a_required_channel_binding_is_a_checked_certificate_where_the_driver_cannot_bind() -> None:
    for url in ("postgresql://h/d?channel_binding=require&sslmode=require", "postgresql://h/d?sslmode=verify-full&sslrootcert=system"):
        context = for_asyncpg(url).arguments["ssl"]
        assert context.verify_mode is ssl.CERT_REQUIRED and context.check_hostname


@pytest.mark.anyio
async def test_a_required_channel_binding_is_never_dropped(database: str) -> None:
    """The test's server speaks no TLS: both drivers refuse to talk to it."""
    url = with_parameters(database, "channel_binding=require")
    require_database_url(url)
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(url)
    if "host=/" not in unquote(database):  # over a socket of the file system asyncpg has nothing to encrypt
        with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError, OSError)):
            await connect(url, application="test")
