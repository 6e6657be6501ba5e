"""``llm``, as its Python API and as its command: models of a file, a conversation that goes on, and what it raises.

It cannot be told to ask only once, so it waits for as long as ``Retry-After`` says, twice.
"""

import json
import os
import runpy
import sys
import tempfile
import traceback
from pathlib import Path
from typing import IO, NoReturn

from driver import TOKEN, URL, caught, finish

HOME = Path.cwd() / "llm"
MODELS = ("words", "silent", "calling", "endless", "limited", "refusing", "failing", "broken", "nobody/at:all")
HOME.mkdir()
os.environ["LLM_USER_PATH"] = str(HOME)
lines = [
    f"- model_id: {name}\n  model_name: {name}\n  api_base: {URL}/v1\n  api_key_name: stenograph\n  supports_tools: true\n"
    for name in MODELS
]
(HOME / "extra-openai-models.yaml").write_text("".join(lines))

(HOME / "keys.json").write_text(json.dumps({"stenograph": TOKEN}))

import llm  # noqa: E402  # it reads the folder


def ask(name: str, key: str = TOKEN, stream: bool = False) -> llm.Response:
    return llm.get_model(name).prompt("Hello", key=key, stream=stream)


def look_up(thing: str) -> str:
    """Say where a thing is."""
    return f"where {thing} always is"


def command(*arguments: str) -> dict[str, object]:
    """``python -m llm`` in a fork of this process: a process of its own would load it all once more, for a second."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        child = os.fork()
        if child == 0:
            be_command(arguments, out, err)
        _, status = os.waitpid(child, 0)
        for file in (out, err):
            file.seek(0)
        return {"code": os.waitstatus_to_exitcode(status), "out": out.read(), "err": err.read()}


def be_command(arguments: tuple[str, ...], out: IO[str], err: IO[str]) -> NoReturn:
    code = 1
    try:
        os.dup2(out.fileno(), 1)
        os.dup2(err.fileno(), 2)
        sys.argv = ["llm", *arguments]
        runpy.run_module("llm", run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except Exception:  # noqa: BLE001  # printed, as by any process that ends with it
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


whole = ask("words")
first = next(iter(ask("endless", stream=True)))
chain = llm.get_model("calling").chain("Where is the key?", tools=[look_up], key=TOKEN, stream=False)
finish(
    "llm",
    models=[one.model_id for one in llm.get_models()],
    whole=whole.text(),
    tokens=sum((whole.usage().input, whole.usage().output)),
    streamed=list(ask("words", stream=True)),
    silent="".join(ask("silent", stream=True)),
    called=chain.text(),
    left=first,
    command=[
        command("-m", "words", "Hello"),
        command("-c", "And?"),
        command("-m", "nobody/at:all", "Hello"),
        command("logs", "list", "--count", "0", "--short"),
    ],
    errors={
        "wrong key": caught(lambda: ask("words", "sk-wrong").text()),
        "unknown model": caught(lambda: ask("nobody/at:all").text()),
        "limited": caught(lambda: ask("limited").text()),
        "refused": caught(lambda: ask("refusing").text()),
        "failed": caught(lambda: ask("failing").text()),
        "broken stream": caught(lambda: list(ask("broken", stream=True))),
    },
)
