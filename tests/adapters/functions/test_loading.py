"""A source becomes a function, or says why not and where; the last good one goes on."""

import asyncio
from typing import Any

import pytest

from adapters.functions.frontmatter import frontmatter
from domain.errors import BadRequest, FunctionExists, FunctionFailed, FunctionNotFound, FunctionNotLoaded, ValvesRefused
from domain.routing.function import MASK
from tests.functions import ADA, workbench

pytestmark = pytest.mark.anyio

GOOD = "class Filter:\n    def inlet(self, body): return 'good'\n"


@pytest.mark.parametrize(
    ("source", "reason", "line", "said"),
    [
        ("class Filter:\n    def inlet(self, body)\n        return body\n", "syntax", 2, "SyntaxError: expected ':'"),
        ("x = '\x00'\n", "syntax", None, "null"),
        ("class Filters:\n    pass\n", "no_class", None, "expected a class named Pipe, Filter or Action"),
        ("Filter = 5\n", "no_class", None, "expected a class named Pipe, Filter or Action"),
        ("import json\nimport no_such_package\n", "import", 2, "No module named 'no_such_package'"),
        (
            '"""\nrequirements: no-such-package==1\n"""\nimport no_such_package\n',
            "import",
            4,
            "this server does not install what a function requires, which is no-such-package==1",
        ),
        ("from open_webui.models.chats import Chats\n", "import", 1, "no module open_webui.models.chats; of open_webui it has open_webui."),
        ("from open_webui.utils.misc import nothing_like_it\n", "import", 1, "cannot import name 'nothing_like_it'"),
        ("x = 1\n\ny = x / 0\n", "exception", 3, "ZeroDivisionError"),
        ("class Filter:\n    def __init__(self):\n        raise ValueError('boom')\n", "exception", 3, "ValueError: boom"),
        ("import sys\nsys.exit()\n", "exception", 2, "SystemExit"),
        (
            "class Filter:\n    Valves = 5\n    def inlet(self, body): return body\n",
            "valves",
            None,
            "expected Valves to be a class of pydantic",
        ),
        ("class Filter:\n    class Valves:\n        pass\n", "valves", None, "expected Valves to be a class of pydantic's BaseModel"),
        ("while True:\n    pass\n", "too_slow", None, "loading it took longer than 0.5 s"),
    ],
    ids=lambda value: str(value)[:30].replace("\n", " ").replace("\x00", "NUL"),
)
async def test_a_source_that_cannot_run_is_refused_with_its_line(source: str, reason: str, line: int | None, said: str) -> None:
    async with workbench(function_timeout_s=0.5 if reason == "too_slow" else 60) as bench:
        before = await bench.system.log.head()
        with pytest.raises(FunctionNotLoaded) as refused:
            await bench.functions.library.create(None, "f", "f", source, {})
        assert (refused.value.reason, refused.value.line) == (reason, line)
        assert said in str(refused.value)
        assert str(refused.value).startswith("f.py")
        assert await bench.system.log.head() == before, "nothing was written"


async def test_a_priority_that_is_no_number_is_refused() -> None:
    source = """
        from pydantic import BaseModel
        class Filter:
            class Valves(BaseModel):
                priority: str = "high"
            def inlet(self, body): return body
    """
    async with workbench() as bench:
        await bench.put("f", source)
        assert bench.functions.runtime.get("f") is None
        assert "expected the valve priority to be a number" in str(bench.functions.runtime.loader.failures["f"])


async def test_a_changed_source_takes_the_place_of_the_one_before() -> None:
    async with workbench() as bench:
        await bench.put("f", GOOD)
        assert await bench.call("f", "inlet") == "good"
        await bench.change("f", GOOD.replace("good", "better"))
        assert await bench.call("f", "inlet") == "better"


async def test_a_source_that_is_refused_leaves_the_last_good_one() -> None:
    async with workbench() as bench:
        await bench.put("f", GOOD)
        with pytest.raises(FunctionNotLoaded):
            await bench.change("f", "class Filter: (\n")
        assert await bench.call("f", "inlet") == "good"


async def test_of_what_the_log_holds_and_this_process_cannot_load_the_last_good_one_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process has a package that this one lacks."""
    async with workbench() as bench:
        await bench.put("f", GOOD)

        async def only_there(*_: Any) -> Any:
            from commands.functions.function_library import Examined

            return Examined("filter", {})

        monkeypatch.setattr(bench.functions.library._workshop, "examine", only_there)
        await bench.change("f", "import only_on_another_process\n" + GOOD)
        assert bench.functions.runtime.loader.failures["f"].reason == "import"
        assert await bench.call("f", "inlet") == "good"


async def test_an_equal_source_is_no_change() -> None:
    async with workbench() as bench:
        first = await bench.put("f", GOOD)
        assert (await bench.change("f", GOOD)).version == first.version


async def test_two_of_one_id_are_refused() -> None:
    async with workbench() as bench:
        await bench.put("f", GOOD)
        with pytest.raises(FunctionExists):
            await bench.put("f", GOOD)


@pytest.mark.parametrize("function_id", ["", "1st", "a-b", "Ä", "a.b", "x" * 129])
async def test_an_id_that_is_no_identifier_is_refused(function_id: str) -> None:
    async with workbench() as bench:
        with pytest.raises(BadRequest):
            await bench.put(function_id, GOOD)


async def test_one_that_was_deleted_may_come_back_as_a_new_one() -> None:
    async with workbench() as bench:
        first = await bench.put("f", GOOD)
        await bench.functions.library.delete(None, "f")
        assert bench.functions.runtime.get("f") is None
        with pytest.raises(FunctionNotFound):
            await bench.functions.library.find("f")
        again = await bench.put("f", GOOD.replace("good", "again"), active=False)
        assert again.stream_id == first.stream_id
        assert not again.state.active
        await bench.functions.library.toggle(ADA, "f")
        assert await bench.call("f", "inlet") == "again"


async def test_one_that_is_off_is_not_shown_and_comes_back_as_it_was() -> None:
    source = "class Filter:\n    n = 0\n    def inlet(self, body):\n        Filter.n += 1\n        return Filter.n\n"
    async with workbench() as bench:
        await bench.put("f", source)
        assert await bench.call("f", "inlet") == 1
        await bench.functions.library.toggle(ADA, "f")
        assert list(bench.functions.runtime.filters()) == []
        await bench.functions.library.toggle(ADA, "f")
        assert await bench.call("f", "inlet") == 2


async def test_filters_stand_in_the_order_of_their_priorities_and_then_of_their_ids() -> None:
    def source(priority: float) -> str:
        return f"""
            from pydantic import BaseModel
            class Filter:
                class Valves(BaseModel):
                    priority: float = {priority}
                def inlet(self, body): return body
        """

    async with workbench() as bench:
        for function_id, priority in (("c", 0), ("b", 0), ("a", 5), ("d", -1)):
            await bench.put(function_id, source(priority))
        await bench.put("bb", GOOD)
        assert [one.id for one in bench.functions.runtime.filters()] == ["d", "b", "bb", "c", "a"]
        await bench.functions.library.change_valves(ADA, "d", {"priority": 9})
        assert [one.id for one in bench.functions.runtime.filters()] == ["b", "bb", "c", "a", "d"]


async def test_a_function_is_described_by_its_attributes() -> None:
    filter_source = """
        class Filter:
            file_handler = True
            def __init__(self):
                self.toggle = True
                self.icon = "data:x"
            def stream(self, event): return event
    """
    action_source = """
        class Action:
            actions = [{"id": "one", "name": "First", "icon_url": "data:1"}, {"id": "two"}]
            async def action(self, body): return body
    """
    async with workbench() as bench:
        await bench.put("f", filter_source)
        await bench.put("act", action_source)
        described = bench.get("f")
        assert (described.has_toggle, described.icon, described.handles_files) == (True, "data:x", True)
        assert described.methods == {"stream"}
        assert [(sub.id, sub.name, sub.icon) for sub in bench.get("act").subs] == [("one", "First", "data:1"), ("two", "act (two)", None)]


async def test_older_names_of_modules_are_those_of_today() -> None:
    async with workbench() as bench:
        await bench.put("f", "from utils.misc import get_last_user_message as last\n" + GOOD.replace("'good'", "last(body['messages'])"))
        assert await bench.call("f", "inlet", {"body": {"messages": [{"role": "user", "content": "Hi"}]}}) == "Hi"
        source = await bench.functions.library.source(await bench.functions.library.known("f"))
        assert source.startswith("from utils.misc")


async def test_annotations_that_are_evaluated_later_find_their_names() -> None:
    source = """
        from __future__ import annotations
        from typing import Optional
        from pydantic import BaseModel
        class Inner(BaseModel):
            n: int = 1
        class Filter:
            class Valves(BaseModel):
                inner: Optional[Inner] = None
            def __init__(self):
                self.valves = self.Valves(inner=Inner())
            def inlet(self, body): return self.valves.inner
    """
    async with workbench() as bench:
        await bench.put("f", source)
        assert bench.functions.runtime.loader.failures == {}


# ---------------------------------------------------------------------------------------------------------------- valves

VALVES = """
    from typing import Literal, Optional
    from pydantic import BaseModel, Field, SecretStr
    class Filter:
        class Valves(BaseModel):
            priority: int = 0
            api_key: str = ""
            hidden: SecretStr = SecretStr("")
            shown: str = Field(default="", json_schema_extra={"input": {"type": "password"}})
            max_tokens: int = 5
            kind: Literal["a", "b"] = "a"
        class UserValves(BaseModel):
            loud: bool = False
            token: str = ""
        def __init__(self):
            self.valves = self.Valves()
        def inlet(self, body):
            valves = self.valves
            return [valves.priority, valves.api_key, valves.hidden.get_secret_value(), valves.shown, valves.max_tokens]
        def outlet(self, body, __user__):
            return [__user__["valves"].loud, __user__["valves"].token]
"""


async def stored_text(bench: Any) -> str:
    events = await bench.system.log.read_log(after=0, limit=1000)
    return b"".join(one.data for one in events).decode()


async def test_valves_are_set_validated_and_secrets_are_in_no_event() -> None:
    async with workbench() as bench:
        await bench.put("f", VALVES)
        library = bench.functions.library
        given = {"priority": 3, "api_key": "sk-secret-1", "hidden": "secret-2", "shown": "secret-3", "kind": None}
        answer = await library.change_valves(ADA, "f", given)
        assert answer == {"priority": 3, "api_key": MASK, "hidden": MASK, "shown": MASK}
        assert await library.valves("f") == answer
        assert await bench.call("f", "inlet") == [3, "sk-secret-1", "secret-2", "secret-3", 5]
        assert "secret-" not in await stored_text(bench)


async def test_a_mask_that_comes_back_is_the_secret_that_is_kept() -> None:
    async with workbench() as bench:
        await bench.put("f", VALVES)
        library = bench.functions.library
        await library.change_valves(ADA, "f", {"api_key": "first", "shown": "second"})
        await library.change_valves(ADA, "f", {"api_key": MASK, "shown": "changed", "priority": 1})
        assert await bench.call("f", "inlet") == [1, "first", "", "changed", 5]


async def test_valves_that_are_as_they_were_are_no_change() -> None:
    async with workbench() as bench:
        await bench.put("f", VALVES)
        library = bench.functions.library
        await library.change_valves(ADA, "f", {"api_key": "first", "priority": 1})
        before = (await library.known("f")).version
        await library.change_valves(ADA, "f", {"api_key": MASK, "priority": 1})
        assert (await library.known("f")).version == before


async def test_new_valves_keep_the_instance() -> None:
    source = """
        from pydantic import BaseModel
        class Filter:
            class Valves(BaseModel):
                step: int = 1
            def __init__(self):
                self.valves = self.Valves()
                self.n = 0
            def inlet(self, body):
                self.n += self.valves.step
                return self.n
    """
    async with workbench() as bench:
        await bench.put("f", source)
        assert await bench.call("f", "inlet") == 1
        await bench.functions.library.change_valves(ADA, "f", {"step": 10})
        assert await bench.call("f", "inlet") == 11


async def test_values_of_the_wrong_type_are_refused_and_not_repeated() -> None:
    async with workbench() as bench:
        await bench.put("f", VALVES)
        with pytest.raises(ValvesRefused) as refused:
            await bench.functions.library.change_valves(ADA, "f", {"priority": "soon", "kind": "c", "hidden": ["sk-secret"]})
        assert {name for name, _ in refused.value.problems} == {"priority", "kind", "hidden"}
        assert "soon" not in str(refused.value)
        assert "sk-secret" not in str(refused.value)
        assert await bench.functions.library.valves("f") == {}


async def test_a_validator_of_the_functions_own_that_hangs_or_raises_is_refused() -> None:
    source = """
        import time
        from pydantic import BaseModel, field_validator
        class Filter:
            class Valves(BaseModel):
                n: int = 0
                @field_validator("n")
                @classmethod
                def check(cls, n):
                    if n == 1:
                        raise RuntimeError("boom")
                    while n == 2:
                        pass
                    return n
            def inlet(self, body): return body
    """
    async with workbench(function_timeout_s=0.5) as bench:
        await bench.put("f", source)
        with pytest.raises(ValvesRefused, match="RuntimeError: boom"):
            await bench.functions.library.change_valves(ADA, "f", {"n": 1})
        with pytest.raises(FunctionFailed, match="took longer"):
            await bench.functions.library.change_valves(ADA, "f", {"n": 2})


async def test_a_valve_without_a_default_is_set_before_the_first_call() -> None:
    source = """
        from pydantic import BaseModel
        class Filter:
            class Valves(BaseModel):
                api_url: str
            def __init__(self):
                self.valves = self.Valves()
            def inlet(self, body): return self.valves.api_url
    """
    async with workbench() as bench:
        await bench.put("f", source)
        with pytest.raises(FunctionFailed, match="its valves have to be set: api_url: Field required"):
            await bench.call("f", "inlet")
        await bench.functions.library.change_valves(ADA, "f", {"api_url": "http://there"})
        assert await bench.call("f", "inlet") == "http://there"
        await bench.change("f", source.replace("return self", "return 'new ' + self"))
        assert await bench.call("f", "inlet") == "new http://there"


async def test_valves_of_one_that_has_none_are_refused() -> None:
    async with workbench() as bench:
        await bench.put("f", GOOD)
        assert await bench.functions.library.spec("f", "valves", ADA) is None
        with pytest.raises(FunctionNotFound, match="Valves"):
            await bench.functions.library.change_valves(ADA, "f", {})


async def test_each_person_has_valves_of_their_own() -> None:
    async with workbench() as bench:
        await bench.put("f", VALVES)
        assert await bench.call("f", "outlet") == [False, ""]
        answer = await bench.functions.library.change_user_valves(ADA, "f", {"loud": True, "token": "sk-secret"})
        assert answer == {"loud": True, "token": MASK}
        assert await bench.functions.library.user_valves(ADA, "f") == answer
        assert await bench.call("f", "outlet") == [True, "sk-secret"]
        assert "sk-secret" not in await stored_text(bench)


async def test_valves_of_a_person_that_do_not_fit_a_changed_source_are_its_defaults() -> None:
    async with workbench() as bench:
        await bench.put("f", VALVES)
        await bench.functions.library.change_user_valves(ADA, "f", {"loud": True})
        await bench.change("f", VALVES.replace("loud: bool = False", "loud: list = [1]"))
        assert await bench.call("f", "outlet") == [[1], ""]


async def test_the_schema_masks_secrets_and_asks_for_options() -> None:
    source = """
        from pydantic import BaseModel, Field
        class Filter:
            class Valves(BaseModel):
                api_key: str = "from the environment"
                model: str = Field(default="", json_schema_extra={"input": {"type": "select", "options": "models"}})
                @classmethod
                def models(cls, __user__):
                    return [{"value": __user__["id"]}]
            def inlet(self, body): return body
    """
    async with workbench() as bench:
        await bench.put("f", source, active=False)
        schema = await bench.functions.library.spec("f", "valves", ADA)
    assert schema is not None
    assert schema["properties"]["api_key"]["default"] == MASK
    assert schema["properties"]["model"]["input"]["options"] == [{"value": str(ADA.id)}]


def test_the_lines_at_the_top_are_read_and_nothing_else() -> None:
    source = '"""\ntitle: A filter\nauthor_url: https://example.org\nversion: 1.2\nno line of it\n"""\nname: "x"\n'
    assert frontmatter(source) == {"title": "A filter", "author_url": "https://example.org", "version": "1.2"}
    assert frontmatter("import x\n" + source) == {}
    assert frontmatter("") == {}


async def test_functions_in_the_log_are_loaded_at_the_start_side_by_side() -> None:
    async with workbench() as bench:
        await asyncio.gather(*(bench.put(f"f{n}", GOOD) for n in range(20)))
        assert len(bench.functions.runtime.filters()) == 20
