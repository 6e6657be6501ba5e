"""A pipe is a model, or several, and its answer is like a provider's, whatever it returns or yields."""

import asyncio
import json
from collections.abc import Sequence

import pytest

from commands.providers.provider import Finish, Part, ProviderRequest, Reasoning, Source, Text, ToolCall, Usage
from domain.errors import FunctionFailed, ProviderFailed
from tests.functions import ADA, Workbench, workbench

pytestmark = pytest.mark.anyio


def text_of(parts: Sequence[Part]) -> str:
    return "".join(part.text for part in parts if isinstance(part, Text))


async def said(bench: Workbench, body: str, head: str = "", how: str = "def") -> list[Part]:
    """The answer of a pipe whose method has this body."""
    lines = "\n".join(f"        {line}" for line in body.split("\n"))
    arguments = "self, body, __event_emitter__=None"
    await bench.put("p", f"{head}\nclass Pipe:\n    {how} pipe({arguments}):\n{lines}\n")
    return await bench.answer("p")


CHUNK = '{"choices": [{"delta": {"content": "Hi"}}]}'


@pytest.mark.parametrize(
    ("how", "body", "head"),
    [
        ("def", "return 'Hi'", ""),
        ("async def", "return 'Hi'", ""),
        ("def", "yield 'H'\nyield 'i'", ""),
        ("async def", "yield 'H'\nyield 'i'", ""),
        ("def", "return (one for one in 'Hi')", ""),
        ("async def", "return (one for one in 'Hi')", ""),
        ("def", "return iter(['H', 'i'])", ""),
        ("def", f"return {CHUNK}", ""),
        ("def", f"yield {CHUNK}", ""),
        ("def", f"yield 'data: ' + json.dumps({CHUNK})", "import json"),
        ("def", f"yield 'data: ' + json.dumps({CHUNK}) + '\\n\\n'\nyield 'data: [DONE]\\n\\n'", "import json"),
        ("def", f"yield ('data: ' + json.dumps({CHUNK}) + '\\n\\ndata: [DONE]\\n\\n').encode()", "import json"),
        (
            "def",
            f"whole = ('data: ' + json.dumps({CHUNK}) + '\\n\\n').encode()\nfor at in range(len(whole)):\n    yield whole[at:at + 1]",
            "import json",
        ),
        ("def", "return {'choices': [{'message': {'content': 'Hi'}, 'finish_reason': 'stop'}]}", ""),
        ("def", "return b'Hi'", ""),
        ("def", "yield b'H'\nyield b'i'", ""),
        ("def", "return {'response': 'Hi'}", ""),
        (
            "def",
            "class Delta(BaseModel):\n    content: str = 'Hi'\nclass Choice(BaseModel):\n    delta: Delta = Delta()\n"
            "class Chunk(BaseModel):\n    choices: list[Choice] = [Choice()]\nyield Chunk()",
            "from pydantic import BaseModel",
        ),
        (
            "async def",
            f"async def lines():\n    yield 'data: ' + json.dumps({CHUNK}) + '\\n\\n'\n"
            "    yield 'data: [DONE]\\n\\n'\nreturn StreamingResponse(lines())",
            "import json\nfrom fastapi.responses import StreamingResponse",
        ),
        ("def", "return JSONResponse({'choices': [{'message': {'content': 'Hi'}}]})", "from starlette.responses import JSONResponse"),
        ("def", f"yield 'H'\nyield {CHUNK.replace('Hi', 'i')}", ""),
        ("async def", "await __event_emitter__({'type': 'message', 'data': {'content': 'Hi'}})\nreturn ''", ""),
        ("def", "__event_emitter__('chat:message:delta', {'content': 'H'})\nreturn 'i'", ""),
    ],
)
async def test_an_answer_may_be_text_chunks_lines_or_a_response(how: str, body: str, head: str) -> None:
    async with workbench() as bench:
        parts = await said(bench, body, head, how)
        assert text_of(parts) == "Hi"
        assert parts[-1] == Finish("stop")
        assert sum(isinstance(part, Finish) for part in parts) == 1
        assert bench.emitted == []


async def test_repeated_text_is_kept_as_it_is() -> None:
    async with workbench() as bench:
        assert text_of(await said(bench, "yield 'ha'\nyield 'ha'\nyield 'hahaha'\nyield 'hahahahahahaha'")) == "ha" * 12


async def test_reasoning_calls_sources_usage_and_the_reason_of_the_end_are_kept() -> None:
    body = """
yield {"choices": [{"delta": {"reasoning_content": "Hm."}}]}
yield {"choices": [{"delta": {"content": "Hi"}}], "citations": ["https://example.org"]}
yield {"choices": [{"delta": {"tool_calls": [{"index": 0, "id": "c", "function": {"name": "f", "arguments": "{}"}}]}}]}
yield {"choices": [{"delta": {}, "finish_reason": "tool_calls"}]}
yield {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}}
""".strip()
    async with workbench() as bench:
        parts = await said(bench, body)
    assert parts[0] == Reasoning("Hm.")
    assert [part for part in parts if isinstance(part, ToolCall)] == [ToolCall(0, "{}", "c", "f")]
    assert any(isinstance(part, Source) for part in parts)
    assert isinstance(parts[-2], Usage)
    assert parts[-1] == Finish("tool_calls")


async def test_what_a_pipe_emits_stands_in_its_place_and_other_events_are_written() -> None:
    body = """
await __event_emitter__({"type": "status", "data": {"description": "Thinking"}})
yield "a"
await __event_emitter__({"type": "message", "data": {"content": "b"}})
yield {"event": {"type": "source", "data": {"name": "x"}}}
yield "c"
""".strip()
    async with workbench() as bench:
        parts = await said(bench, body, how="async def")
        assert text_of(parts) == "abc"
        assert bench.emitted == [("status", {"description": "Thinking"}), ("source", {"name": "x"})]


@pytest.mark.parametrize("how", ["def", "async def"])
@pytest.mark.parametrize("body", ["raise ValueError('boom')", "yield 'a'\nraise ValueError('boom')"])
async def test_an_exception_is_an_error_with_the_functions_name_after_what_came_before_it(how: str, body: str) -> None:
    async with workbench() as bench:
        await bench.put("p", "class Pipe:\n    " + how + " pipe(self, body):\n" + "\n".join(f"        {line}" for line in body.split("\n")))
        got: list[Part] = []
        route = await bench.functions.pipes.find("p")
        assert route is not None
        ask = ProviderRequest(model="p", messages=[], context=bench.context())
        with pytest.raises(FunctionFailed, match="function p: ValueError: boom"):
            async for parts in route.provider.stream(ask):
                got += parts
        assert text_of(got) == ("a" if "yield" in body else "")


@pytest.mark.parametrize(
    ("body", "said_of_it"),
    [
        ("yield 'a'\nyield {'error': {'message': 'no money'}}", "no money"),
        ("return {'error': {'detail': 'no money'}}", "no money"),
        ('yield \'data: {"error": "no money"}\'', "no money"),
        ("return JSONResponse({'error': 'no money'}, status_code=402)", "HTTP 402: no money"),
    ],
)
async def test_an_error_that_a_pipe_reports_is_one(body: str, said_of_it: str) -> None:
    async with workbench() as bench:
        with pytest.raises(ProviderFailed, match=f"p: {said_of_it}"):
            await said(bench, body, "from fastapi.responses import JSONResponse" if "JSONResponse" in body else "")


@pytest.mark.parametrize("how", ["def", "async def"])
async def test_each_piece_comes_when_it_is_made(how: str) -> None:
    wait = "await asyncio.sleep(0.01)" if how == "async def" else "time.sleep(0.01)"
    source = f"""
        import asyncio, time
        class Pipe:
            go_on = False
            {how} pipe(self, body):
                yield "first"
                while not Pipe.go_on:
                    {wait}
                yield "second"
    """
    async with workbench() as bench:
        await bench.put("p", source)
        route = await bench.functions.pipes.find("p")
        assert route is not None
        answer = route.provider.stream(ProviderRequest(model="p", messages=[], context=bench.context()))
        assert await anext(answer) == [Text("first")]
        type(bench.functions.runtime.loader.by_id["p"].loaded.instance).go_on = True
        assert [part async for parts in answer for part in parts] == [Text("second"), Finish("stop")]


@pytest.mark.parametrize(
    ("how", "between"),
    [("def", "time.sleep(0.01)"), ("async def", "await asyncio.sleep(0.01)"), ("async def", "time.sleep(0.01)"), ("def", "pass")],
)
async def test_stopping_reaches_the_generator(how: str, between: str) -> None:
    source = f"""
        import asyncio, time
        class Pipe:
            ended = False
            {how} pipe(self, body):
                try:
                    while True:
                        yield "more "
                        {between}
                finally:
                    Pipe.ended = True
    """
    async with workbench() as bench:
        await bench.put("p", source)
        route = await bench.functions.pipes.find("p")
        assert route is not None
        answer = route.provider.stream(ProviderRequest(model="p", messages=[], context=bench.context()))
        await anext(answer)
        await answer.aclose()
        instance = bench.functions.runtime.loader.by_id["p"].loaded.instance
        async with asyncio.timeout(60):
            while not instance.ended:  # noqa: ASYNC110 - a thread sets no event of this loop
                await asyncio.sleep(0.02)


async def test_stopping_reaches_a_pipe_that_has_not_answered_yet() -> None:
    source = """
        import asyncio
        class Pipe:
            ended = False
            async def pipe(self, body):
                try:
                    await asyncio.sleep(60)
                finally:
                    Pipe.ended = True
    """
    async with workbench() as bench:
        await bench.put("p", source)
        waiting = asyncio.create_task(bench.answer("p"))
        await asyncio.sleep(0.2)
        waiting.cancel()
        instance = bench.functions.runtime.loader.by_id["p"].loaded.instance
        async with asyncio.timeout(60):
            while not instance.ended:  # noqa: ASYNC110 - a thread sets no event of this loop
                await asyncio.sleep(0.02)


@pytest.mark.parametrize("how", ["def", "async def"])
async def test_a_pipe_that_is_silent_for_too_long_ends_and_one_that_speaks_does_not(how: str) -> None:
    wait = "await asyncio.sleep" if how == "async def" else "time.sleep"
    source = f"""
        import asyncio, time
        class Pipe:
            {how} pipe(self, body):
                for n in range(6):
                    {wait}(0.15)
                    yield "."
                {wait}(2)
    """
    async with workbench(function_pipe_timeout_s=0.6) as bench:
        await bench.put("p", source)
        got: list[Part] = []
        route = await bench.functions.pipes.find("p")
        assert route is not None
        with pytest.raises(FunctionFailed, match=r"took longer than 0.6 s"):
            async for parts in route.provider.stream(ProviderRequest(model="p", messages=[], context=bench.context())):
                got += parts
        assert text_of(got) == "......"


async def test_a_pipe_that_is_faster_than_its_reader_waits() -> None:
    source = """
        class Pipe:
            made = 0
            def pipe(self, body):
                for _ in range(5000):
                    Pipe.made += 1
                    yield "x"
    """
    async with workbench() as bench:
        await bench.put("p", source)
        route = await bench.functions.pipes.find("p")
        assert route is not None
        answer = route.provider.stream(ProviderRequest(model="p", messages=[], context=bench.context()))
        count = len(await anext(answer))
        await asyncio.sleep(0.3)
        assert bench.functions.runtime.loader.by_id["p"].loaded.instance.made < 1000
        count += sum([len(parts) async for parts in answer])
        assert count == 5001  # with its end


# -------------------------------------------------------------------------------------------------------------- models


MANIFOLD = """
    class Pipe:
        def __init__(self):
            self.name = "Many: "
        {how} pipes(self):
            return [{{"id": "one", "name": "One"}}, {{"id": "two.b", "name": "Two"}}, {{"id": "three"}}]
        def pipe(self, body, __id__):
            return body["model"]
"""


@pytest.mark.parametrize("how", ["def", "async def"])
async def test_a_manifold_is_its_entries_and_not_itself(how: str) -> None:
    async with workbench() as bench:
        await bench.put("many", MANIFOLD.format(how=how))
        models = await bench.functions.pipes.models()
        assert [(one.id, one.name) for one in models] == [
            ("many.one", "Many: One"),
            ("many.two.b", "Many: Two"),
            ("many.three", "Many: three"),
        ]
        assert text_of(await bench.answer("many.two.b")) == "many.two.b"
        assert await bench.functions.pipes.find("many") is None
        assert await bench.functions.pipes.find("many.four") is None


async def test_entries_may_be_a_list() -> None:
    async with workbench() as bench:
        await bench.put("many", "class Pipe:\n    pipes = [{'id': 'a', 'name': 'A'}]\n    def pipe(self, body): return 'x'\n")
        assert [one.id for one in await bench.functions.pipes.models()] == ["many.a"]
        assert text_of(await bench.answer("many.a")) == "x"


async def test_entries_that_cannot_be_listed_are_none_and_the_others_stay() -> None:
    async with workbench() as bench:
        await bench.put("bad", "class Pipe:\n    def pipes(self): raise ValueError('no key')\n    def pipe(self, body): return 'x'\n")
        await bench.put("one", "class Pipe:\n    def pipe(self, body): return 'x'\n")
        assert [one.id for one in await bench.functions.pipes.models()] == ["one"]


async def test_a_pipe_that_is_off_is_no_model() -> None:
    async with workbench() as bench:
        await bench.put("one", "class Pipe:\n    def pipe(self, body): return 'x'\n")
        await bench.functions.library.toggle(ADA, "one")
        assert await bench.functions.pipes.models() == []
        assert await bench.functions.pipes.find("one") is None


async def test_new_valves_show_in_the_list_of_models_after_a_change_of_the_source() -> None:
    source = "class Pipe:\n    def pipes(self): return [{'id': 'a', 'name': 'A'}]\n    def pipe(self, body): return 'x'\n"
    async with workbench() as bench:
        await bench.put("many", source)
        assert [one.id for one in await bench.functions.pipes.models()] == ["many.a"]
        await bench.change("many", source.replace("'a'", "'b'"))
        assert [one.id for one in await bench.functions.pipes.models()] == ["many.b"]


async def test_the_body_has_the_messages_and_the_params_and_is_the_pipes_own() -> None:
    source = """
        import json
        class Pipe:
            def pipe(self, body):
                body["messages"][0]["content"] = "changed"
                return json.dumps(body)
    """
    async with workbench() as bench:
        await bench.put("p", source)
        messages = [{"role": "user", "content": "Hello"}]
        route = await bench.functions.pipes.find("p")
        assert route is not None
        ask = ProviderRequest(
            model="p", messages=messages, params={"tools": []}, options={"temperature": 1, "num_ctx": 5}, context=bench.context()
        )
        parts = [part async for parts in route.provider.stream(ask) for part in parts]
        assert messages == [{"role": "user", "content": "Hello"}]
    assert json.loads(text_of(parts)) == {
        "model": "p",
        "messages": [{"role": "user", "content": "changed"}],
        "stream": True,
        "tools": [],
        "temperature": 1,
    }
