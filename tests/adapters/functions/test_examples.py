"""The functions in ``examples/functions`` do what they say. The tutorial names them."""

from pathlib import Path
from typing import Any

import pytest

from commands.providers.provider import Finish, Text
from tests.functions import ADA, workbench

pytestmark = pytest.mark.anyio
EXAMPLES = Path(__file__).parents[3] / "examples" / "functions"


async def test_there_is_one_of_each_kind_and_all_of_them_load() -> None:
    async with workbench(functions=EXAMPLES) as bench:
        assert bench.functions.folder is not None
        assert bench.functions.folder.problems == []
        assert [one.id for one in bench.functions.runtime.pipes()] == ["echoes", "second_thoughts"]
        assert [one.id for one in bench.functions.runtime.filters()] == ["house_words"]
        assert [one.id for one in bench.functions.runtime.actions()] == ["count_words"]


async def test_the_manifold_answers_in_three_ways() -> None:
    async with workbench(functions=EXAMPLES) as bench:
        await bench.functions.library.change_valves(ADA, "echoes", {"pause_ms": 0})
        said = {}
        for way in ("plain", "loud", "backwards"):
            said[way] = [part.text for part in await bench.answer(f"echoes.{way}", "one two") if isinstance(part, Text)]
        assert said == {"plain": ["one ", "two "], "loud": ["ONE ", "TWO "], "backwards": ["two ", "one "]}


async def test_the_pipe_asks_twice_and_shows_the_second_answer() -> None:
    async with workbench(functions=EXAMPLES) as bench:
        await bench.system.registration.sign_up("Ada", "ada@example.org", "correct horse battery")
        (user_id,) = [stream.id for stream in bench.system.stores.log.claimed("email")]  # type: ignore[union-attr]
        context = bench.context()
        actor = type(ADA)(user_id, "Ada", "admin")
        parts = await bench.answer("second_thoughts", "Hello", type(context)(actor=actor, emit=context.emit))
        assert "Say that in one sentence." in "".join(part.text for part in parts if isinstance(part, Text))
        assert parts[-1] == Finish("stop")
        assert [data["done"] for name, data in bench.emitted if name == "status"] == [False, False, True]


async def test_the_filter_adds_to_the_system_prompt_and_writes_the_name_right() -> None:
    async with workbench(functions=EXAMPLES) as bench:
        given = {"messages": [{"role": "user", "content": "Hi"}]}
        asked = await bench.call("house_words", "inlet", {"body": given})
        assert asked["messages"][0] == {"role": "system", "content": "The house is called ACME."}
        chunk = {"choices": [{"delta": {"content": "acme is here"}}]}
        assert (await bench.call("house_words", "stream", {"event": chunk}))["choices"][0]["delta"]["content"] == "ACME is here"
        await bench.functions.library.change_user_valves(ADA, "house_words", {"enabled": False})
        assert await bench.call("house_words", "inlet", {"body": given}) == given


@pytest.mark.parametrize(
    ("sub_id", "confirmed", "expected"), [("show", True, "notification"), ("add", True, "message"), ("add", False, None)]
)
async def test_the_action_counts_and_asks_before_it_writes(sub_id: str, confirmed: bool, expected: str | None) -> None:
    asked: list[Any] = []

    async def ask(kind: str, data: Any, session_id: str | None = None, timeout_s: float | None = None) -> Any:
        asked.append(kind)
        return confirmed

    async with workbench(functions=EXAMPLES) as bench:
        body = {"messages": [{"role": "assistant", "content": "one two three"}]}
        answer = await bench.call("count_words", "action", {"body": body}, bench.context(ask, sub_id=sub_id))
        assert answer == {"words": 3}
        assert [name for name, _ in bench.emitted] == ([expected] if expected else [])
        assert asked == (["confirmation"] if sub_id == "add" else [])
