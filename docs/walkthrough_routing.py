"""Makes ``docs/walkthrough-routing.md``: an arena, filters around its answer, and an action that asks before it acts.

    .venv/bin/python docs/walkthrough_routing.py --model-url http://127.0.0.1:9411/v1 --model NAME

``--model-url`` is any OpenAI-compatible server; without it the built-in ``demo`` answers alone. The functions are those of
``examples/functions``. Everything else is started here, on a free port and in a temporary folder. What the page shows is what was seen.
"""

import argparse
import asyncio
import json
import platform
import shutil
import subprocess
import sys
import tempfile
from contextlib import aclosing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from walkthrough import ACCOUNT, ANSWER_TOKENS_MAX, HERE, ROOT, Server, Story

from stenograph_client.client import Client
from stenograph_client.events import Event

HOUSE = "Sea"  # what the filter ``house_words`` writes in place of its lower case
ACTION = "count_words.add"
SHOWN_CHARACTERS = 300
WAIT_S = 300


async def walk(model_url: str | None, model: str, house: str) -> str:
    story = Story()
    folder = Path(tempfile.mkdtemp(prefix="steno-walk-"))
    folder.chmod(0o711)  # the embedded Postgres runs as another user when we are root
    server = Server(folder / "data", model_url)
    server.environment["STENO_FUNCTIONS"] = str(ROOT / "examples" / "functions")
    try:
        await server.start()
        async with Client(f"http://127.0.0.1:{server.port}", retry_s=60) as client:
            await client.sign_up(*ACCOUNT)
            chat = await client.new_chat("A duel")
            await set_up(client, story, model, house)
            answer = await the_answer(client, story, chat["id"])
            await the_action(client, story, server, chat["id"], answer)
            await the_log(client, story, chat["id"])
            verified(server, story)
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)
    return page(story, model, model_url)


async def set_up(client: Client, story: Story, model: str, house: str) -> None:
    story.say("## An arena and a filter\n")
    arena = {"id": "duel", "name": "Duel", "base_model_id": None, "params": {}, "meta": {"model_ids": [model, "demo:30"]}}
    await client.http.post("/api/v1/models/create", arena)
    story.say(f"`POST /api/v1/models/create` makes the arena `duel` of `{model}` and `demo:30`. The functions of `examples/functions`:\n")
    for function in await client.http.get("/api/v1/functions/"):
        story.say(f"- `{function['id']}` ({function['type']}): {function['meta'].get('description', '')}")
    await client.http.post("/api/v1/functions/id/house_words/valves/update", {"house": house})
    story.say(f"\nThe filter's valve `house` is set to `{house}`: that word is written so from here on.\n")


async def the_answer(client: Client, story: Story, chat_id: str) -> str:
    story.say("## An answer\n")
    begun = await client.complete(
        "duel",
        chat_id=chat_id,
        user_message={"content": "Tell me of the sea, and of the keeper of the light."},
        params={"seed": 7, "max_tokens": ANSWER_TOKENS_MAX},
    )
    events = [event async for event in client.answer(begun)]
    for event in events:
        data = event.data
        match event.type:
            case "message_start":
                story.say(f"Asked was `{data['requested_model']}`; the arena picked `{data['selected_model_id']}`, which answers.\n")
                story.say(f"The model was sent what has the sha256 `{data['payload_sha256'][:16]}…`, before any filter.")
            case "message_delta":
                story.token(data["text"])
            case "message_end":
                story.end()
    await asyncio.sleep(1)  # an outlet runs after the end
    story.say("\nWhat the filters did, as the log tells it:\n\n| stage | chunks | changed | sha256 before → after |\n|---|---|---|---|")
    async for event in client.events(begun.stream):
        if event.type == "filter_applied":
            data = event.data
            story.say(
                f"| `{data['filter_id']}`, {data['stage']} | {data.get('chunks', '')} | {data.get('changed', '')} "
                f"| `{data['sha256_before'][:12]}…` → `{data['sha256_after'][:12]}…` |"
            )
    story.say("")
    return begun.message_id


async def the_action(client: Client, story: Story, server: Server, chat_id: str, message_id: str) -> None:
    story.say("## An action that asks\n")
    story.say(f"`POST /api/chat/actions/{ACTION}` wants to add a line to the answer, and asks first: an event of the chat.\n")
    running, call = await asked(client, chat_id, message_id)
    story.note(f"`kill -9` of the server while “{call.data['data']['message']}” waits, and a new one on the same data.")
    server.kill()
    await server.start()
    story.say("\nWho asked is gone, and the log says so. The client repeats its request, so the action begins anew and asks again:\n")
    again = await expired_and_asked_again(client, story, chat_id, call)
    await client.answer_call(chat_id, again.data["call_id"], True)
    result = await running
    story.say(f"\nThe answer is “yes”, after the restart; the action returns `{json.dumps(result)}`, and the message ends with:\n")
    message = (await client.chat(chat_id))["chat"]["history"]["messages"][message_id]
    story.say(f"> {message['content'].splitlines()[-1]}\n")


async def expired_and_asked_again(client: Client, story: Story, chat_id: str, call: Event) -> Event:
    again = None
    has_expired = False
    async with asyncio.timeout(WAIT_S), aclosing(client.follow(f"chat/{chat_id}", call.cursor)) as events:
        async for event in events:
            if event.type == "call_expired":
                has_expired = True
                story.say(f"- `call_expired` at version {event.version}, reason `{event.data['reason']}`")
            elif event.type == "call":
                again = event
                story.say(f"- `call` at version {event.version}, the same question")
            if has_expired and again is not None:
                return again
    raise AssertionError("a stream that is followed has no end")


async def asked(client: Client, chat_id: str, message_id: str) -> tuple["asyncio.Task[Any]", Event]:
    """The running action, and its question once it stands in the log."""
    chat = await client.chat(chat_id)
    message = chat["chat"]["history"]["messages"][message_id]
    body = {
        "model": message["model"],
        "chat_id": chat_id,
        "id": message_id,
        "messages": [{"role": "assistant", "content": message["content"]}],
    }
    running = asyncio.create_task(client.http.post(f"/api/chat/actions/{ACTION}", body))
    async with asyncio.timeout(WAIT_S):
        async with aclosing(client.follow(f"chat/{chat_id}", f"{await client.epoch(f'chat/{chat_id}')}:{chat['version']}")) as events:
            async for event in events:
                if event.type == "call":
                    return running, event
    raise AssertionError("a stream that is followed has no end")


async def the_log(client: Client, story: Story, chat_id: str) -> None:
    story.say("## What an auditor reads\n\n| version | type | what |\n|---|---|---|")
    async for event in client.events(f"chat/{chat_id}"):
        if event.type not in ("message_delta", "content_block"):
            data = {key: value for key, value in event.data.items() if value not in (None, "", {}, [])}
            story.say(f"| {event.version} | `{event.type}` | {cell(json.dumps(data, ensure_ascii=False))} |")
    story.say("\n(Blocks and deltas are left out here.)\n")


def cell(text: str) -> str:
    text = text.replace("|", "\\|").replace("`", "'")
    return f"`{text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + '…'}`"


def verified(server: Server, story: Story) -> None:
    server.stop()
    shown = subprocess.run(
        [sys.executable, "-m", "api.cli", "verify"], env=server.environment, cwd=ROOT, capture_output=True, text=True, check=True
    )
    story.say(f"`steno verify`:\n\n```text\n{shown.stdout.strip()}\n```")


def page(story: Story, model: str, model_url: str | None) -> str:
    where = "an OpenAI-compatible server on this machine" if model_url else "the built-in model"
    when = f"{datetime.now(UTC):%Y-%m-%d}, Python {platform.python_version()}"
    made = f"Made by `docs/walkthrough_routing.py` on {when}, with the model `{model}` behind {where}."
    intro = (
        "An arena picks one of two models, filters change what it is asked and what it says, and an action asks a person before it acts. "
        "All of it stands in the log."
    )
    return "\n".join(["# Walkthrough: who answered, and what was changed", "", intro, "", made, "", *story.lines, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description="Make docs/walkthrough-routing.md.")
    parser.add_argument("--model-url", help="an OpenAI-compatible server, such as http://127.0.0.1:9411/v1; default: the built-in model")
    parser.add_argument("--model", default="demo:25")
    parser.add_argument("--house", default=HOUSE, help="the word that a filter writes with a capital")
    parser.add_argument("--output", type=Path, default=HERE / "walkthrough-routing.md")
    given = parser.parse_args()
    given.output.write_text(asyncio.run(walk(given.model_url, given.model, given.house)))
    json.dump({"written": str(given.output)}, sys.stdout)


if __name__ == "__main__":
    main()
