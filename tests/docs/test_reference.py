"""The reference is complete: every route, event type, error code, setting and command stands in it, and nothing that is not there."""

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import click
import msgspec
import pytest

from api.app import routes_of
from api.cli.main import main
from api.request.errors import CODES, TABLE
from api.settings import Settings, markdown_table, variable_of
from api.systems import in_memory
from domain import errors
from domain.chat.facts import RESERVED
from domain.log.codec import TYPES
from tests.docs.pages import ROOT, pages, prose, rows

REFERENCE = ROOT / "docs" / "reference"
METHODS = ("get", "post", "put", "patch", "delete")


def code_words(text: str) -> list[str]:
    return re.findall(r"`([^`]+)`", text)


@pytest.mark.anyio
async def test_the_table_of_routes_has_one_row_for_each_route_of_the_schema() -> None:
    schema = routes_of(Settings()).on(await in_memory(Settings())).openapi_schema.to_schema()
    served = {(method.upper(), path) for path, item in schema["paths"].items() for method in METHODS if method in item}
    written = Counter((row[0], path) for row in rows(REFERENCE / "http.md", "method") for path in code_words(row[1])[:1])
    assert set(written) == served
    assert [route for route, count in written.items() if count > 1] == []


def test_every_row_of_a_route_says_what_it_does_and_who_may() -> None:
    table = rows(REFERENCE / "http.md", "method")
    assert [row for row in table if len(row) != 7 or not row[2] or not row[3]] == []


def test_every_error_code_stands_in_the_reference_with_its_status() -> None:
    written = {
        (int(status), code)
        for row in rows(REFERENCE / "http.md", "status")
        for status in re.findall(r"\d+", row[0])
        for code in code_words(row[1])
    }
    abstract = {errors.StenographError, errors.Refusal}  # never raised themselves
    raised = {(answer[0], error.code) for error, answer in TABLE.items() if error not in abstract and error is not errors.ProviderFailed}
    assert raised - written == set()
    known = {code for _, code in raised} | set(CODES.values()) | {"internal", "provider_…"}
    assert {code for _, code in written} - known == set()


def test_the_tables_of_events_have_one_row_for_each_type() -> None:
    """Also for one that stands in several kinds of stream, such as a grant or a token."""
    table = [row for row in rows(REFERENCE / "events.md", "type") if len(row) == 5]
    assert all(row[4] for row in table), "each row says who writes it"
    written = Counter(code_words(row[0])[0] for row in table)
    assert set(written) == {name for types in TYPES.values() for name in types}
    assert [name for name, count in written.items() if count > 1] == []


@pytest.mark.parametrize("kind", [kind for kind, types in TYPES.items() if types])
def test_the_fields_of_each_event_type_are_those_of_its_class(kind: str) -> None:
    written = {code_words(row[0])[0]: row[2] for row in rows(REFERENCE / "events.md", "type") if len(row) == 5}
    for name, fact in TYPES[kind].items():
        fields = [field.name for field in msgspec.structs.fields(fact)]
        keys = {"…" if field == "fields" else field for field in fields}
        named = {key.strip().rstrip("?") for words in code_words(written[name]) for key in words.split(",")}
        assert named == keys, name


def test_every_reserved_name_stands_in_the_reference() -> None:
    words = set(code_words(prose(REFERENCE / "events.md")))
    assert RESERVED - words == set()


def test_every_setting_stands_in_the_configuration() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text()
    assert markdown_table().strip() in page
    names = {code_words(row[0])[0] for row in rows(ROOT / "docs" / "configuration.md", "variable")}
    assert names == {variable_of(name) for name in Settings.__struct_fields__} | {"STENO_CONFIG"}


def commands(group: Any, path: str) -> Iterator[tuple[str, click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, f"{path} {name}")
        else:
            yield f"{path} {name}", command


def test_every_command_and_every_option_stands_in_the_reference() -> None:
    page = REFERENCE / "command-line.md"
    words = set(code_words(prose(page)))
    options = {word for text in words for word in re.findall(r"(?<![\w-])--?[a-z][a-z-]*", text)}
    table = {" ".join(re.findall(r"(?:^|(?<= ))[a-z]+(?:-[a-z]+)*", code_words(row[0])[0])): row for row in rows(page, "command")}
    assert set(table) == {name for name, _ in commands(main, "steno")}
    for name, command in commands(main, "steno"):
        known = {option for one in command.params if isinstance(one, click.Option) for option in one.opts}
        assert known - {"--help", "-h"} - options == set(), name


PATH_IN_CODE = re.compile(
    r"(?:api|adapters|commands|projections|domain|sql|client|stenograph_client|bench|tests|docs)/(?:[\w./-]+\.(?:py|sql|md)|[\w./-]*/)"
)


def test_no_page_names_a_file_or_folder_that_is_not_there() -> None:
    history = {"CHANGELOG.md"}  # it may name what was
    missing = [
        f"{page.relative_to(ROOT)}: {word}"
        for page in pages()
        if page.name not in history
        for word in code_words(prose(page))
        if PATH_IN_CODE.fullmatch(word) and "NAME" not in word and not (ROOT / word).exists()
    ]
    assert missing == []
