"""What an operator gets wrong: ``steno serve`` says it in a sentence, with what to do, and shows neither a traceback nor a password."""

import os
from pathlib import Path

import pytest

from tests.forked import steno

ROOT = Path(__file__).parents[3]
SECRET = "hunter2"


def refusal(folder: Path, *options: str, **environ: str) -> str:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("STENO_") and name != "DATABASE_URL"}
    environ = {**kept, "PYTHONPATH": f"{ROOT}:{ROOT / 'client'}", "STENO_DATA": str(folder / "data"), "STENO_PORT": "0", **environ}
    done = steno("serve", *options, environ=environ, folder=folder)
    assert done.code == 1, done
    assert "Traceback" not in done.out + done.err and SECRET not in done.out + done.err
    return done.err


@pytest.mark.parametrize(
    ("url", "said"),
    [
        (f"sqlite:///{SECRET}", "DATABASE_URL: the scheme sqlite is not Postgres's: expected postgresql://"),
        (f"postgresql+psycopg2://u:{SECRET}@h/d", "DATABASE_URL: the scheme postgresql+psycopg2 is not Postgres's"),
        (f"postgresql://u:{SECRET}@h/d?jit=off", "DATABASE_URL: the parameter jit is not supported"),
        (f"postgresql://u:{SECRET}@h:p/d", "DATABASE_URL: the port is not a number"),
        (f"postgresql://u:{SECRET}@nowhere.invalid/d", "The database of DATABASE_URL cannot be used"),
        (f"postgresql://u:{SECRET}@127.0.0.1:1/d?channel_binding=require&connect_timeout=2&sslmode=require", "cannot be used"),
    ],
)
def test_a_database_url_that_cannot_be_used(url: str, said: str, tmp_path: Path) -> None:
    assert said in refusal(tmp_path, DATABASE_URL=url)


@pytest.mark.parametrize(
    ("host", "said"),
    [
        ("nowhere.invalid", "cannot be listened on"),
        ("192.0.2.1", "cannot be listened on"),
        ("300.1.1.1", "cannot be listened on"),
        ("::zz", "cannot be listened on"),
        ("a..b", "cannot be listened on"),
    ],
)
def test_a_host_that_is_not_this_machines(host: str, said: str, tmp_path: Path) -> None:
    text = refusal(tmp_path, STENO_HOST=host)
    assert said in text and host in text and "--host 127.0.0.1" in text


def test_a_data_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    text = refusal(tmp_path)
    assert f"the data folder {tmp_path / 'data'} is not a folder" in text and "STENO_DATA" in text
    assert "is not a folder" in refusal(tmp_path, DATABASE_URL=f"postgresql://u:{SECRET}@127.0.0.1:1/d")


def test_a_data_folder_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "STENO_DATA" in refusal(tmp_path, STENO_DATA=str(tmp_path / "file" / "data"))


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("STENO_PORT", "http"),
        ("STENO_WORKERS", "many"),
        ("STENO_LEASE_S", "-1"),
        ("STENO_LOG_LEVEL", "loud"),
        ("STENO_SECRET", SECRET),
        ("STENO_OPENAI_BASE_URLS", "ftp://h"),
        ("STENO_DEFAULT_ROLE", "king"),
        ("STENO_NO_SUCH", "1"),
    ],
)
def test_a_setting_with_a_wrong_value_is_one_line(variable: str, value: str, tmp_path: Path) -> None:
    lines = refusal(tmp_path, **{variable: value}).strip().splitlines()
    assert len(lines) == 3 and lines[1].startswith(f"{variable}: ")
