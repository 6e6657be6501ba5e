"""``DATABASE_URL`` and TLS, on a Postgres that speaks it, which the embedded one does not: Debian's."""

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psycopg
import pytest

from adapters.postgres.connections.connection import connect
from adapters.postgres.connections.database_url import require_database_url
from tests.package.debian import program

pytestmark = pytest.mark.anyio
WAIT_S = 60  # ends a test that hangs, measures nothing


class Tls(NamedTuple):
    url: str  # without parameters; the server takes TLS with SCRAM and nothing else
    authority: Path  # that signed the server's certificate, for localhost
    stranger: Path  # an authority that did not


def signed(folder: Path, openssl: str, name: str, authority: str | None) -> Path:
    """``name.crt`` and ``name.key``: of an authority, or for localhost and signed by one."""
    extension = "basicConstraints=critical,CA:TRUE" if authority is None else "subjectAltName=DNS:localhost"
    by = [] if authority is None else ["-CA", f"{authority}.crt", "-CAkey", f"{authority}.key"]
    subprocess.run(
        [
            *(openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}", "-addext", extension),
            *(*by, "-keyout", f"{name}.key", "-out", f"{name}.crt"),
        ],
        cwd=folder,
        check=True,
        capture_output=True,
    )
    return folder / f"{name}.crt"


@pytest.fixture(scope="module")
def tls() -> Iterator[Tls]:
    binaries = next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)), None)
    if binaries is None:
        pytest.skip("Debian's Postgres is not installed: apt-get install postgresql-15")
    openssl = program("openssl", "openssl")
    folder = Path(tempfile.mkdtemp(prefix="steno-tls-", dir="/tmp"))
    authority, stranger = signed(folder, openssl, "authority", None), signed(folder, openssl, "stranger", None)
    signed(folder, openssl, "server", "authority")
    (folder / "password").write_text("correct horse")
    user = "postgres" if os.geteuid() == 0 else None
    for path in (folder, *folder.iterdir()):
        path.chmod(0o755 if path.is_dir() else 0o600 if path.suffix == ".key" else 0o644)
        if user is not None:
            os.chown(path, pwd.getpwnam(user).pw_uid, pwd.getpwnam(user).pw_gid)
    cluster = folder / "cluster"
    run = {"cwd": "/", "user": user, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    initdb = [binaries / "initdb", "-D", cluster, "-U", "steno", f"--pwfile={folder / 'password'}", "--no-sync", "--encoding=UTF8"]
    subprocess.run([*initdb, "--locale=C", "--auth=scram-sha-256"], check=True, **run)  # type: ignore[call-overload]
    (cluster / "pg_hba.conf").write_text("hostssl all all all scram-sha-256\n")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = {"ssl": "on", "ssl_cert_file": folder / "server.crt", "ssl_key_file": folder / "server.key", "fsync": "off"}
    options |= {"listen_addresses": "localhost", "unix_socket_directories": "", "port": port}
    server = subprocess.Popen(  # type: ignore[call-overload]
        [binaries / "postgres", "-D", cluster, *(f"--{name}={value}" for name, value in options.items())], **run
    )
    url = f"postgresql://steno:correct%20horse@localhost:{port}/postgres"
    try:
        until = time.monotonic() + WAIT_S
        while True:
            with contextlib.suppress(psycopg.OperationalError), psycopg.connect(url, autocommit=True) as connection:
                connection.execute("CREATE ROLE stenograph_app")
                break
            assert server.poll() is None and time.monotonic() < until
            time.sleep(0.05)
        yield Tls(url, authority, stranger)
    finally:
        server.terminate()
        server.wait()
        shutil.rmtree(folder)


async def encrypted(url: str) -> tuple[bool, bool]:
    """Whether the session of psycopg is encrypted, and that of asyncpg."""
    require_database_url(url)
    question = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
    with psycopg.connect(url) as connection:
        row = connection.execute(question).fetchone()
    asking = await connect(url, application="test", role="none")
    answer = await asking.fetchval(question)
    await asking.close()
    return row is not None and row[0], answer


@pytest.mark.parametrize(
    "parameters",
    [
        "",
        "sslmode=prefer",
        "sslmode=require",
        "sslmode=verify-ca&sslrootcert={authority}",
        "sslmode=verify-full&sslrootcert={authority}",
        "sslmode=verify-full&sslrootcert={authority}&channel_binding=require",
        "sslmode=require&sslrootcert={authority}&channel_binding=require",
        "sslmode=verify-full&sslrootcert={authority}&channel_binding=disable&connect_timeout=9&keepalives_idle=20",
    ],
)
async def test_both_drivers_encrypt_as_the_url_says(tls: Tls, parameters: str) -> None:
    assert await encrypted(f"{tls.url}?{parameters.format(authority=tls.authority)}") == (True, True)


@pytest.mark.parametrize(
    "parameters",
    ["sslmode=verify-ca&sslrootcert={stranger}", "sslmode=verify-full&sslrootcert={stranger}", "sslmode=disable"],
)
async def test_both_drivers_refuse_a_server_that_the_url_does_not_trust(tls: Tls, parameters: str) -> None:
    url = f"{tls.url}?{parameters.format(stranger=tls.stranger)}"
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(url)
    with pytest.raises(Exception, match=r"(?i)certificate|pg_hba|encryption|SSL"):
        await connect(url, application="test", role="none")


async def test_where_a_bound_channel_is_required_a_certificate_that_nobody_checked_is_refused(tls: Tls) -> None:
    """psycopg binds the channel to it. asyncpg cannot, and is not to talk to whoever sits in between."""
    url = f"{tls.url}?sslmode=require&channel_binding=require"
    psycopg.connect(url).close()
    with pytest.raises(Exception, match=r"(?i)certificate"):
        await connect(url, application="test", role="none")
