"""``schemathesis`` asks everything that the description allows, and much that it does not, and finds what was not declared.

A fixed number of requests with a fixed seed. Twice: an account that knows no ids, and an admin who knows one of each thing.
"""

import asyncio
import json
import re
import uuid
from collections.abc import Mapping
from pathlib import Path

import pytest

from api.settings import Settings
from tests.api.conftest import Running, User, running
from tests.clients.programs import clients_python, run

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

# Its garbage is collected rarely: at Python's own threshold a seventh of its time goes into looking at what stays.
SCHEMATHESIS = "import gc; gc.set_threshold(100_000); from schemathesis.cli import schemathesis; gc.freeze(); schemathesis()"
SEED = 20_261_129
CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "allow_header_conformance",
    "unsupported_method",
)
# What ends the token that all other requests need; it has a run of its own.
ENDS_THE_TOKEN = "/auths/(signout|sessions|update)"
# A live stream of something that exists does not end.
ENDLESS = "/streams/.*/events"


async def checked(server: Running, user: User, folder: Path, *options: str, ids: Mapping[str, str] | None = None) -> None:
    """Fails with what schemathesis prints. ``ids``: the values of path parameters."""
    config = "[parameters]\n" + "".join(f'"path.{name}" = {json.dumps(value)}\n' for name, value in (ids or {}).items())
    await asyncio.to_thread((folder / "schemathesis.toml").write_text, config)
    lines = await run(
        [
            *(str(clients_python()), "-c", SCHEMATHESIS, "--no-color", "--config-file", "schemathesis.toml", "run"),
            *(f"{server.url}/docs/openapi.json", "--url", server.url, "--header", f"Authorization: Bearer {user.token}"),
            *("--checks", ",".join(CHECKS), "--seed", str(SEED), "--generation-database", "none", "--no-shrink", "--request-timeout", "60"),
            *options,
        ],
        folder,
    )
    (made,) = [match for line in lines if (match := re.search(r"(\d+) generated", line))]
    print(f"schemathesis: {made[1]} requests")
    assert int(made[1]) > 10


async def test_an_account_that_knows_no_ids(settings: Settings, tmp_path: Path) -> None:
    async with running(settings) as server:
        await server.sign_up("Root")
        user = await server.sign_up()
        await checked(server, user, tmp_path, "--phases", "coverage", "--exclude-path-regex", ENDS_THE_TOKEN)


async def test_an_admin_who_knows_one_of_each_thing(settings: Settings, tmp_path: Path) -> None:
    async with running(settings) as server:
        admin, ada = await server.sign_up("Root"), await server.sign_up()
        ids = await one_of_each(admin, ada)
        excluded = ("--exclude-path-regex", f"{ENDS_THE_TOKEN}|{ENDLESS}")
        await checked(server, admin, tmp_path, "--phases", "fuzzing", "--max-examples", "5", *excluded, ids=ids)


async def test_what_ends_the_token(settings: Settings, tmp_path: Path) -> None:
    async with running(settings) as server:
        user = await server.sign_up()
        await checked(server, user, tmp_path, "--phases", "coverage", "--include-path-regex", ENDS_THE_TOKEN)


async def one_of_each(admin: User, ada: User) -> dict[str, str]:
    chat_id = await admin.new_chat()
    question = await admin.add(chat_id, "What is it?")
    folder = (await admin.post("/api/v1/folders", {"name": "Work"})).json()
    response = (await admin.post("/v1/responses", {"model": "demo:3", "input": "Hello"})).json()
    key = (await admin.post("/api/v1/auths/keys", {"name": "a program"})).json()
    shared = (await admin.post(f"/api/v1/chats/{chat_id}/share")).json()
    task = await admin.ask(await admin.new_chat(), "demo:1000")
    return {
        "chat_id": chat_id,
        "message_id": question["message_id"],
        "folder_id": folder["id"],
        "response_id": response["id"],
        "key_id": key["id"],
        "share_id": shared["share_id"],
        "task_id": task["task_id"],
        "user_id": ada.id,
        "session_id": str(uuid.uuid4()),
        "model_id": "demo",
        "task": "title",
        "kind": "chat",
        "stream_id": chat_id,
    }
