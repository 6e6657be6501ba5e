"""Reading the settings: the file first, then the environment, which beats it. Everything that is wrong is reported, not only the first."""

import difflib
import ipaddress
import math
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, get_origin

import msgspec

from api.settings import (
    FILE_VARIABLE,
    OF_SERVERS,
    OTHER_VARIABLES,
    PROVIDER_KEYS,
    SECRET_NAMES,
    TYPES,
    Settings,
    SettingsError,
    variable_of,
)
from api.settings_forms import form_of, is_list, unwrapped
from domain.errors import BadRequest
from domain.routing.provider import PROVIDER_KINDS, require_fields

FILE_NAME: Final = "stenograph.toml"
HOST: Final = re.compile(r"(?:\*\.)?[A-Za-z0-9_.-]+|[0-9A-Fa-f:]+")  # a name, or an address; no port
NAMES: Final[Mapping[str, str]] = {variable_of(name): name for name in TYPES}


def load(environ: Mapping[str, str] | None = None, folder: Path | None = None) -> Settings:
    """Read the file, if there is one, then the environment. ``folder`` is where ``stenograph.toml`` is looked for: the current one.

    Raises ``SettingsError`` with everything that is wrong, not only the first. An empty variable counts as unset.
    """
    variables = {name: value for name, value in (os.environ if environ is None else environ).items() if value.strip()}
    problems: list[str] = []
    values = _from_file(variables, folder or Path.cwd(), problems) | _from_environment(variables, problems)
    for name, (urls_name, what) in OF_SERVERS.items():
        count, servers = len(values.get(name, ())), len(values.get(urls_name, ()))
        if count > servers:
            problems.append(f"{variable_of(name)}: {count} {what} for {servers} servers in {variable_of(urls_name)}")
    networks = ("trusted_proxies", "provider_refused_networks", "webhook_refused_networks")
    for name, is_valid, form in (
        *((one, is_network, "address and no network") for one in networks),
        ("allowed_hosts", is_host, "host name"),
    ):
        problems += [f"{variable_of(name)}: {one!r} is no {form}" for one in values.get(name, ()) if not is_valid(one)]
    for name, entry in values.get("providers", {}).items():
        if (problem := problem_of_provider(entry)) is not None:
            problems.append(f"{variable_of('providers')}: {name}: {problem}")
    if problems:
        raise SettingsError(problems)
    return Settings(**values)


def problem_of_provider(entry: Mapping[str, Any]) -> str | None:
    """What is wrong with one entry of ``providers``; its text repeats no secret."""
    fields = {name: value for name, value in entry.items() if name not in PROVIDER_KEYS}
    if entry.get("kind") not in PROVIDER_KINDS:
        return f"expected a kind, {' or '.join(PROVIDER_KINDS)}"
    for name, expected in PROVIDER_KEYS.items():
        if name in entry:
            try:
                msgspec.convert(entry[name], expected)
            except msgspec.ValidationError:
                return f"{name} does not fit"
    try:
        require_fields({"base_url": None, **fields})
        if fields.get("base_url") is None:
            return "expected a base_url"
    except BadRequest as error:
        return str(error)
    return None


def is_host(text: str) -> bool:
    return HOST.fullmatch(text) is not None


def is_network(text: str) -> bool:
    """Whether it is an address, or a network as address/bits."""
    try:
        ipaddress.ip_network(text)
    except ValueError:
        return False
    return True


def _from_environment(variables: Mapping[str, str], problems: list[str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for variable, text in variables.items():
        name = NAMES.get(variable)
        if name is not None:
            written: object = [part.strip() for part in text.split(";")] if is_list(TYPES[name]) else text.strip()
            _take(values, name, written, variable, problems)
        elif variable.startswith("STENO_") and variable not in OTHER_VARIABLES:
            problems.append(f"{variable}: no such setting{_nearest(variable, [*NAMES, *OTHER_VARIABLES])}")
    return values


def _from_file(variables: Mapping[str, str], folder: Path, problems: list[str]) -> dict[str, Any]:
    given = variables.get(FILE_VARIABLE)
    path = Path(given).expanduser() if given else folder / FILE_NAME
    try:
        written = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if given:
            problems.append(f"{FILE_VARIABLE}: there is no file {path}")
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        problems.append(f"{path}: {error}")
        return {}
    values: dict[str, Any] = {}
    for name, value in written.items():
        if name in TYPES:
            _take(values, name, value, f"{path}: {name}", problems)
        else:
            problems.append(f"{path}: {name}: no such setting{_nearest(name, list(TYPES))}")
    for name in ("data", "security_log"):
        if name in values:
            values[name] = path.absolute().parent / values[name]  # a relative one means the same wherever the server is started from
    return values


def _take(values: dict[str, Any], name: str, written: object, where: str, problems: list[str]) -> None:
    expected = TYPES[name]
    try:
        if isinstance(written, str) and get_origin(unwrapped(expected)[0]) is dict:
            written = msgspec.json.decode(written)
        value = msgspec.convert(written, expected, strict=not isinstance(written, str), dec_hook=_path)
        if isinstance(value, float) and not math.isfinite(value):
            raise msgspec.ValidationError
    except msgspec.DecodeError:
        shown = "" if name in SECRET_NAMES else f", not {written!r}"
        problems.append(f"{where}: expected {form_of(expected)}{shown}")
    else:
        if name == "database_url" and (problem := _problem_of_url(value)) is not None:
            problems.append(f"{where}: {problem}")
        values[name] = value.expanduser() if isinstance(value, Path) else value


def _problem_of_url(url: str) -> str | None:
    from adapters.postgres.connections.database_url import BadDatabaseUrl, require_database_url  # only here: most commands need no driver

    try:
        require_database_url(url)
    except BadDatabaseUrl as error:
        return str(error)
    return None


def _path(expected: Any, value: object) -> object:
    """A path, the one type of settings that msgspec does not make. It reports what this raises for another value as any other mistake."""
    return expected(value)


def _nearest(name: str, names: list[str]) -> str:
    close = difflib.get_close_matches(name, names, n=1)
    return f"; did you mean {close[0]}?" if close else ""
