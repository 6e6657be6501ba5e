"""``DATABASE_URL``: checked once, at the start, and read in the same way by both drivers.

libpq reads it (psycopg is built on it), and asyncpg gets what libpq read, so a parameter of libpq's means the same on both:
https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-PARAMKEYWORDS. No text of an error shows a value: a ``/``, ``?`` or ``@``
that was not escaped makes a part of the password look like any other part of the URL.
"""

import random
import re
import socket
import ssl
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode

import psycopg
from psycopg.conninfo import conninfo_to_dict

SCHEMES: Final = frozenset({"postgresql", "postgres"})
PORT_MAX: Final = 65_535
ESCAPES: Final = "in a user name or a password write %40 for @, %2F for /, %3F for ?, %23 for # and %25 for %"
BROKEN_ESCAPE: Final = re.compile(r"%(?![0-9A-Fa-f]{2})|%00")
PARAMETER_NAME: Final = re.compile(r"[a-z][a-z_]{0,40}")

# Parameters whose values are words, and those whose values are whole numbers.
WORDS: Final[Mapping[str, frozenset[str]]] = {
    "sslmode": frozenset({"disable", "allow", "prefer", "require", "verify-ca", "verify-full"}),
    "channel_binding": frozenset({"disable", "prefer", "require"}),
    "target_session_attrs": frozenset({"any", "read-write", "read-only", "primary", "standby", "prefer-standby"}),
    "load_balance_hosts": frozenset({"disable", "random"}),
    "sslnegotiation": frozenset({"postgres", "direct"}),
    "gssencmode": frozenset({"disable", "prefer"}),  # asyncpg does not encrypt by GSSAPI
    "client_encoding": frozenset({"utf8", "utf-8", "UTF8", "UTF-8"}),
    "sslsni": frozenset({"1"}),
    "sslcertmode": frozenset({"allow"}),
}
NUMBERS: Final = frozenset(
    {"connect_timeout", "keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout"}
)
# asyncpg reads these itself, from a URL.
READ_BY_ASYNCPG: Final = (
    "passfile",
    "service",
    "sslcert",
    "sslcrl",
    "sslkey",
    "sslmode",
    "sslnegotiation",
    "sslpassword",
    "sslrootcert",
    "ssl_max_protocol_version",
    "ssl_min_protocol_version",
    "target_session_attrs",
    "krbsrvname",
    "gsslib",
)
# Without a meaning for asyncpg, or set by this server itself.
WITHOUT_MEANING: Final = frozenset(
    {"application_name", "fallback_application_name", "gssdelegation", "max_protocol_version", "sslcompression"}
)
KNOWN: Final = frozenset(
    {"user", "password", "dbname", "host", "hostaddr", "port", "options", *WORDS, *NUMBERS, *READ_BY_ASYNCPG, *WITHOUT_MEANING}
)
CERTIFICATE_CHECKED: Final = frozenset({"verify-ca", "verify-full"})


class BadDatabaseUrl(ValueError):
    """A URL that the drivers do not both take. The text is one line that names the part and shows no value."""


class AsyncpgTarget(NamedTuple):
    """What ``asyncpg.connect`` and ``asyncpg.create_pool`` take for a URL, and what is to be set on each socket that they open."""

    arguments: Mapping[str, Any]
    server_settings: Mapping[str, str]
    connect_timeout_s: float | None
    socket_options: tuple[tuple[int, int, int], ...]


def require_database_url(url: str) -> None:
    """Raises ``BadDatabaseUrl``."""
    scheme, mark, rest = url.partition("://")
    if not mark:
        raise BadDatabaseUrl("expected a URL that begins with postgresql://")
    if scheme not in SCHEMES:
        shown = f" {scheme}" if re.fullmatch(r"[a-z][a-z0-9+.-]{0,30}", scheme) else ""
        driver = "; leave out what follows the +" if scheme.partition("+")[0] in SCHEMES else ""
        raise BadDatabaseUrl(f"the scheme{shown} is not Postgres's: expected postgresql://{driver}")
    if BROKEN_ESCAPE.search(rest):
        raise BadDatabaseUrl(f"a % is not followed by two hexadecimal digits: {ESCAPES}")
    place, _, query = rest.partition("?")
    if "@" in query:
        raise BadDatabaseUrl(f"there is an @ after the ?: {ESCAPES}")
    for one in filter(None, query.split("&")):
        name, equals, _ = one.partition("=")
        shown = f" {name}" if PARAMETER_NAME.fullmatch(name) else ""
        if not equals:
            raise BadDatabaseUrl(f"the parameter{shown} has no value")
        if name not in KNOWN:
            raise BadDatabaseUrl(
                f"the parameter{shown} is not supported here; for a setting of the server itself write options=-c%20name%3Dvalue"
            )
    if place.count("@") > 1:
        raise BadDatabaseUrl(f"there is more than one @: {ESCAPES}")
    try:
        _require_values(conninfo_to_dict(url))
    except psycopg.Error:  # its text may hold a part of the password
        raise BadDatabaseUrl(f"libpq cannot read it; {ESCAPES}") from None


def _require_values(read: Mapping[str, Any]) -> None:
    hosts = str(read.get("host") or "").split(",")
    if any(any(sign in host for sign in "@[] ") for host in hosts):
        raise BadDatabaseUrl(f"the host is not a name or an address: {ESCAPES}")
    ports = str(read.get("port") or "").split(",")
    if not all(re.fullmatch(r"[0-9]{1,5}", port) and 1 <= int(port) <= PORT_MAX for port in ports if port):
        raise BadDatabaseUrl(f"the port is not a number from 1 to {PORT_MAX}: {ESCAPES}")
    if len(ports) > 1 and len(ports) != len(hosts):
        raise BadDatabaseUrl(f"there are {len(ports)} ports for {len(hosts)} hosts")
    if "@" in str(read.get("dbname") or ""):
        raise BadDatabaseUrl(f"the name of the database holds an @: {ESCAPES}")
    for name, words in WORDS.items():
        if name in read and read[name] not in words:
            raise BadDatabaseUrl(f"the parameter {name} has to be {' or '.join(sorted(words))}")
    for name in sorted(NUMBERS & read.keys()):
        if not re.fullmatch(r"-?[0-9]{1,9}", str(read[name])):
            raise BadDatabaseUrl(f"the parameter {name} has to be a whole number")
    if read.get("hostaddr") and read.get("sslmode") in CERTIFICATE_CHECKED:
        raise BadDatabaseUrl("the parameter hostaddr does not go with a certificate that is checked: name the host instead")


def for_asyncpg(url: str) -> AsyncpgTarget:
    """``url`` as libpq reads it. It was checked by ``require_database_url``."""
    read = {name: str(value) for name, value in conninfo_to_dict(url).items()}
    arguments: dict[str, Any] = {name: read[given] for name, given in (("user", "user"), ("password", "password")) if given in read}
    if "dbname" in read:
        arguments["database"] = read["dbname"]
    arguments |= _places(read)
    shown: dict[str, str] = {name: read[name] for name in READ_BY_ASYNCPG if name in read}
    binds = read.get("channel_binding") == "require" and shown.get("sslmode") not in CERTIFICATE_CHECKED
    if binds or shown.get("sslrootcert") == "system":
        # asyncpg knows neither word. A certificate that is checked keeps out the same attacker, who sits between server and database, as
        # a channel that is bound.
        roots = shown.pop("sslrootcert", "system")
        shown.pop("sslmode", None)
        arguments["ssl"] = ssl.create_default_context(cafile=None if roots == "system" else roots)
    if shown:
        arguments["dsn"] = f"postgresql:///?{urlencode(shown)}"
    timeout_s = float(read.get("connect_timeout", 0))
    settings = {"options": read["options"]} if "options" in read else {}
    return AsyncpgTarget(arguments, settings, timeout_s if timeout_s > 0 else None, _socket_options(read))


def _places(read: Mapping[str, str]) -> dict[str, Any]:
    hosts = (read.get("hostaddr") or read.get("host") or "").split(",")
    if hosts == [""]:
        return {"port": int(read["port"])} if read.get("port") else {}
    ports = [int(port or 5432) for port in read.get("port", "").split(",")]
    places = list(zip(hosts, ports * len(hosts) if len(ports) == 1 else ports, strict=True))
    if read.get("load_balance_hosts") == "random":
        random.shuffle(places)
    return {"host": [host for host, _ in places], "port": [port for _, port in places]}


def _socket_options(read: Mapping[str, str]) -> tuple[tuple[int, int, int], ...]:
    """As libpq sets them: dead connections are found by default, and 0 leaves a number to the operating system."""
    given: list[tuple[int, int, int]] = []
    if read.get("keepalives", "1") != "0":
        given.append((socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1))
        for name, option in (
            ("keepalives_idle", socket.TCP_KEEPIDLE),
            ("keepalives_interval", socket.TCP_KEEPINTVL),
            ("keepalives_count", socket.TCP_KEEPCNT),
        ):
            if int(read.get(name, 0)) > 0:
                given.append((socket.IPPROTO_TCP, option, int(read[name])))
    if int(read.get("tcp_user_timeout", 0)) > 0:
        given.append((socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(read["tcp_user_timeout"])))
    return tuple(given)


def unless_given(url: str, defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Those of ``defaults``, parameters of psycopg's, that the URL says nothing of."""
    read = conninfo_to_dict(url)
    return {name: value for name, value in defaults.items() if name not in read}


def set_on(options: tuple[tuple[int, int, int], ...]) -> Callable[[Any], None]:
    """What sets ``options`` on the socket of a new asyncpg connection."""

    def apply(connection: Any) -> None:
        opened = connection._transport.get_extra_info("socket")  # asyncpg has no public way to it
        if opened is not None and opened.family in (socket.AF_INET, socket.AF_INET6):
            for level, option, value in options:
                opened.setsockopt(level, option, value)

    return apply
