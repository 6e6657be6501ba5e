"""A function is called with what it names, away from the server's loop, and whatever it does ends with its call."""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import Any

import pytest

from commands.functions.call_context import CallContext
from domain.errors import BadRequest, FunctionFailed, FunctionNotFound
from tests.functions import ADA, Workbench, workbench

pytestmark = pytest.mark.anyio


async def test_a_method_gets_what_it_names_and_nothing_more() -> None:
    source = """
        class Filter:
            def inlet(self, body, __user__, __id__, __chat_id__, __message_id__, __session_id__, __task__, __files__, __metadata__,
                      __model__, __tools__, __request__, __event_emitter__, __event_call__, **rest):
                return {"user": __user__, "id": __id__, "chat": __chat_id__, "message": __message_id__, "session": __session_id__,
                        "task": __task__, "files": __files__, "metadata": __metadata__["chat_id"], "model": __model__,
                        "tools": __tools__, "agent": __request__.headers.get("User-Agent"), "call": __event_call__ is None,
                        "rest": rest, "body": body}
    """
    async with workbench() as bench:
        await bench.put("names", source)
        context = bench.context(
            session_id="tab", task="title_generation", files=[{"id": "f"}], model={"id": "m"}, headers={"user-agent": "test"}
        )
        answer = await bench.call("names", "inlet", {"body": {"messages": []}, "unasked": 1}, context)
    assert answer == {
        "user": {"id": str(ADA.id), "email": "", "name": "", "role": "pending"},  # there is no such account
        "id": "names",
        "chat": "a chat",
        "message": "a message",
        "session": "tab",
        "task": "title_generation",
        "files": [{"id": "f"}],
        "metadata": "a chat",
        "model": {"id": "m"},
        "tools": {},
        "agent": "test",
        "call": True,
        "rest": {},
        "body": {"messages": []},
    }


async def test_the_first_parameter_may_have_any_name() -> None:
    async with workbench() as bench:
        await bench.put("f", "class Filter:\n    def inlet(self, form_data): return {**form_data, 'seen': True}\n")
        assert await bench.call("f", "inlet", {"body": {"a": 1}}) == {"a": 1, "seen": True}


async def test_what_a_function_keeps_of_its_result_it_cannot_change_any_more() -> None:
    async with workbench() as bench:
        await bench.put(
            "f",
            """
            class Filter:
                def inlet(self, body):
                    self.kept = body
                    return body
                def outlet(self, body):
                    self.kept["changed"] = True
                    return body
            """,
        )
        first = await bench.call("f", "inlet", {"body": {"a": [1]}})
        await bench.call("f", "outlet", {"body": {}})
        assert first == {"a": [1]}


@pytest.mark.parametrize("how", ["def", "async def"])
async def test_no_call_runs_on_the_loop_of_the_server(how: str) -> None:
    async with workbench() as bench:
        await bench.put(
            "f", f"import threading\nclass Filter:\n    {how} inlet(self, body): return {{'thread': threading.current_thread().name}}\n"
        )
        assert (await bench.call("f", "inlet"))["thread"] != threading.current_thread().name


async def test_the_calls_of_an_asynchronous_function_share_one_loop() -> None:
    source = """
        import asyncio
        class Filter:
            def __init__(self):
                self.lock = asyncio.Lock()
                self.most = self.now = 0
            async def inlet(self, body):
                async with self.lock:  # bound to the loop of whoever had to wait first
                    self.now += 1
                    self.most = max(self.most, self.now)
                    await asyncio.sleep(0.01)
                    self.now -= 1
                return {"most": self.most}
    """
    async with workbench() as bench:
        await bench.put("f", source)
        answers = await asyncio.gather(*(bench.call("f", "inlet") for _ in range(5)))
    assert answers[-1] == {"most": 1}


async def test_a_function_that_needs_a_running_loop_to_be_made_gets_one() -> None:
    source = """
        import asyncio
        class Filter:
            def __init__(self):
                self.loop = asyncio.get_running_loop()
            async def inlet(self, body):
                return {"same": asyncio.get_running_loop() is self.loop}
    """
    async with workbench() as bench:
        await bench.put("f", source)
        assert await bench.call("f", "inlet") == {"same": True}


# ---------------------------------------------------------------------------------------------------------------- events


@pytest.mark.parametrize(
    "emitting",
    [
        "await __event_emitter__({'type': 'status', 'data': {'n': 1}})",
        "await __event_emitter__('status', {'n': 1})",
        "await __event_emitter__(type='status', data={'n': 1})",
        "__event_emitter__({'type': 'status', 'data': {'n': 1}})",
        "asyncio.create_task(__event_emitter__({'type': 'status', 'data': {'n': 1}}))",
        "await asyncio.gather(__event_emitter__({'type': 'status', 'data': {'n': 1}}))",
    ],
)
async def test_an_emitter_takes_one_object_or_two_and_may_be_awaited(emitting: str) -> None:
    async with workbench() as bench:
        start = "import asyncio\nclass Filter:\n    async def inlet(self, body, __event_emitter__):\n"
        await bench.put("f", f"{start}        {emitting}\n        return body\n")
        await bench.call("f", "inlet")
        assert bench.emitted == [("status", {"n": 1})]


async def test_a_synchronous_function_emits_without_awaiting_and_in_order() -> None:
    source = """
        import asyncio
        class Filter:
            def inlet(self, body, __event_emitter__):
                for n in range(50):
                    __event_emitter__({"type": "status", "data": {"n": n}})
                asyncio.run(__event_emitter__("log", "the end"))
                return body
    """
    async with workbench() as bench:
        await bench.put("f", source)
        await bench.call("f", "inlet")
        assert bench.emitted == [*(("status", {"n": n}) for n in range(50)), ("log", "the end")]


async def test_all_events_of_a_call_are_written_when_it_returns() -> None:
    source = """
        class Filter:
            def inlet(self, body, __event_emitter__):
                __event_emitter__("log", 1)
                return body
    """
    async with workbench() as bench:
        await bench.put("f", source)

        async def slow(name: str, data: Any) -> None:
            await asyncio.sleep(0.05)
            bench.emitted.append((name, data))

        await bench.call("f", "inlet", None, CallContext(actor=ADA, emit=slow))
        assert bench.emitted == [("log", 1)]


async def test_an_event_that_is_refused_is_an_exception_where_it_is_awaited() -> None:
    source = """
        class Filter:
            async def inlet(self, body, __event_emitter__):
                try:
                    await __event_emitter__("log", 1)
                except Exception as error:
                    return {"said": str(error)}
    """
    async with workbench() as bench:
        await bench.put("f", source)

        async def refuse(name: str, data: Any) -> None:
            raise BadRequest("no")

        assert await bench.call("f", "inlet", None, CallContext(actor=ADA, emit=refuse)) == {"said": "no"}


async def test_events_that_cannot_be_written_at_all_do_not_hold_up_the_call() -> None:
    source = """
        class Filter:
            def inlet(self, body, __event_emitter__):
                for n in range(3):
                    __event_emitter__("log", n)
                return body
    """
    async with workbench() as bench:
        await bench.put("f", source)

        async def fail(name: str, data: Any) -> None:
            raise OSError("no room")

        assert await bench.call("f", "inlet", {"body": {"a": 1}}, CallContext(actor=ADA, emit=fail)) == {"a": 1}


async def test_an_emitter_refuses_what_is_no_event() -> None:
    async with workbench() as bench:
        await bench.put("f", "class Filter:\n    async def inlet(self, body, __event_emitter__):\n        await __event_emitter__(1)\n")
        with pytest.raises(FunctionFailed, match="TypeError: expected"):
            await bench.call("f", "inlet")


async def test_a_question_is_answered_and_its_time_does_not_count() -> None:
    source = """
        class Action:
            async def action(self, body, __event_call__):
                return {"said": await __event_call__({"type": "input", "data": {"title": "Name?"}})}
    """

    async def ask(kind: str, data: Any, session_id: str | None = None, timeout_s: float | None = None) -> Any:
        await asyncio.sleep(0.5)
        return [kind, data, session_id]

    async with workbench(function_timeout_s=0.2) as bench:
        await bench.put("f", source)
        answer = await bench.call("f", "action", None, bench.context(ask, session_id="tab"))
    assert answer == {"said": ["input", {"title": "Name?"}, "tab"]}


async def test_a_question_that_is_refused_is_an_exception_in_the_function() -> None:
    source = """
        class Action:
            async def action(self, body, __event_call__):
                try:
                    await __event_call__("confirmation", {})
                except Exception as error:
                    return {"said": str(error)}
    """

    async def ask(kind: str, data: Any, session_id: str | None = None, timeout_s: float | None = None) -> Any:
        raise BadRequest("nobody is there")

    async with workbench() as bench:
        await bench.put("f", source)
        assert await bench.call("f", "action", None, bench.context(ask)) == {"said": "nobody is there"}


# -------------------------------------------------------------------------------------------------------------- failures


@pytest.mark.parametrize("how", ["def", "async def"])
@pytest.mark.parametrize(
    ("raising", "said"),
    [
        ("raise ValueError('boom')", "ValueError: boom"),
        ("raise KeyError('x')", "KeyError: 'x'"),
        ("import sys; sys.exit(3)", "SystemExit: 3"),
        ("next(iter(()))", "StopIteration|RuntimeError"),
        ("return object()", "TypeError: expected JSON, found object"),
        ("return body['body']['body']", "KeyError"),
    ],
)
async def test_whatever_a_function_raises_is_an_error_with_its_name(how: str, raising: str, said: str) -> None:
    async with workbench() as bench:
        await bench.put("f", f"class Filter:\n    {how} inlet(self, body):\n        {raising}\n")
        with pytest.raises(FunctionFailed, match=f"function f: .*({said})") as failed:
            await bench.call("f", "inlet")
        assert failed.value.reason == "raised"
        assert await asyncio.to_thread(lambda: 1) == 1  # the server goes on


async def test_a_missing_argument_is_an_error_with_its_name() -> None:
    async with workbench() as bench:
        await bench.put("f", "class Filter:\n    def inlet(self, body, user_message): return body\n")
        with pytest.raises(FunctionFailed, match="missing 1 required positional argument: 'user_message'"):
            await bench.call("f", "inlet")


async def test_a_method_that_is_not_there_is_refused() -> None:
    async with workbench() as bench:
        await bench.put("f", "class Filter:\n    def inlet(self, body): return body\n")
        with pytest.raises(FunctionNotFound, match="outlet"):
            await bench.call("f", "outlet")


async def until(condition: Callable[[], bool]) -> None:
    """Something that happens in a function's thread."""
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110 - a thread sets no event of this loop
            await asyncio.sleep(0.02)


async def still_answers(bench: Workbench, function_id: str) -> None:
    """Other functions are called meanwhile, and so is this one again."""
    await bench.put("other", "class Filter:\n    def inlet(self, body): return 1\n    async def outlet(self, body): return 2\n")
    assert (await bench.call("other", "inlet"), await bench.call("other", "outlet")) == (1, 2)
    assert await bench.call(function_id, "outlet") == "fine"


@pytest.mark.parametrize("how", ["def", "async def"])
async def test_an_endless_loop_is_ended(how: str) -> None:
    source = f"""
        class Filter:
            ended = False
            {how} inlet(self, body):
                try:
                    while True:
                        pass
                finally:
                    Filter.ended = True
            {how} outlet(self, body):
                return "fine"
    """
    async with workbench(function_timeout_s=0.3) as bench:
        await bench.put("f", source)
        with pytest.raises(FunctionFailed, match=r"function f: took longer than 0.3 s") as failed:
            await bench.call("f", "inlet")
        assert failed.value.reason == "too_slow"
        instance = bench.functions.runtime.loader.by_id["f"].loaded.instance
        await until(lambda: instance.ended)
        await still_answers(bench, "f")
        assert figure(bench, "stenograph_function_timeouts") >= 1
        assert figure(bench, "stenograph_function_threads_given_up") == 0


async def test_a_thread_that_waits_outside_of_python_is_given_up_and_replaced() -> None:
    source = """
        import time
        class Filter:
            def inlet(self, body):
                time.sleep(4)
            def outlet(self, body):
                return "fine"
    """
    async with workbench(function_timeout_s=0.2, function_threads=1) as bench:
        await bench.put("f", source)
        with pytest.raises(FunctionFailed, match="took longer"):
            await bench.call("f", "inlet")
        await until(lambda: figure(bench, "stenograph_function_threads_given_up") == 1)
        assert await bench.call("f", "outlet") == "fine"
        await until(lambda: figure(bench, "stenograph_function_threads_given_up") == 0)  # it comes back, and ends


async def test_a_function_that_blocks_its_loop_gets_another_one() -> None:
    source = """
        import time
        class Filter:
            async def inlet(self, body):
                time.sleep(3)
                return "late"
            async def outlet(self, body):
                return "fine"
    """
    async with workbench() as bench:
        await bench.put("f", source)
        blocking = asyncio.create_task(bench.call("f", "inlet"))
        answer = None
        while answer is None and not blocking.done():
            with contextlib.suppress(TimeoutError):
                answer = await asyncio.wait_for(bench.call("f", "outlet"), 0.3)
        assert answer == "fine"
        assert not blocking.done()
        assert figure(bench, "stenograph_function_loops_blocked") == 1
        assert await blocking == "late"


async def test_a_blocking_function_does_not_hold_up_the_server() -> None:
    async with workbench() as bench:
        await bench.put("f", "import time\nclass Filter:\n    async def inlet(self, body): time.sleep(0.5)\n")
        blocking = asyncio.create_task(bench.call("f", "inlet"))
        turns = 0
        while not blocking.done():
            await asyncio.sleep(0.01)
            turns += 1
        assert turns > 5


async def test_a_caller_that_leaves_ends_the_call() -> None:
    source = """
        import asyncio
        class Filter:
            ended = False
            async def inlet(self, body):
                try:
                    await asyncio.sleep(60)
                finally:
                    Filter.ended = True
    """
    async with workbench() as bench:
        await bench.put("f", source)
        call = asyncio.create_task(bench.call("f", "inlet"))
        await asyncio.sleep(0.2)
        call.cancel()
        instance = bench.functions.runtime.loader.by_id["f"].loaded.instance
        await until(lambda: instance.ended)


def figure(bench: Workbench, name: str) -> float:
    return next(value for _, found, _, value in bench.functions.runtime.figures() if found == name)


async def test_no_thread_runs_before_there_is_a_function() -> None:
    before = set(threading.enumerate())  # those of earlier tests may end at any moment
    async with workbench() as bench:
        assert set(threading.enumerate()) <= before
        await bench.put("f", "class Filter:\n    def inlet(self, body): return body\n")
        assert not set(threading.enumerate()) <= before
