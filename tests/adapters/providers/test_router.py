import asyncio
from collections.abc import AsyncGenerator, Sequence

import pytest

from adapters.providers.demo.demo import DemoProvider
from adapters.providers.router import ConfiguredProvider, Providers
from commands.providers.provider import Model, Part, ProviderRequest
from domain.errors import ModelNotFound, ProviderFailed

pytestmark = pytest.mark.anyio


class Listed:
    """A provider with a list of models that a test can change, hold back, or break."""

    def __init__(self, *models: str) -> None:
        self.ids = models
        self.broken = False
        self.open = asyncio.Event()
        self.open.set()
        self.asked = 0
        self.was_asked = asyncio.Event()

    async def models(self) -> Sequence[Model]:
        self.asked += 1
        self.was_asked.set()
        await self.open.wait()
        if self.broken:
            raise ProviderFailed("provider_unreachable", "nobody there")
        return [Model(id=model, name=model, owned_by="openai") for model in self.ids]

    async def stream(self, ask: ProviderRequest) -> AsyncGenerator[list[Part], None]:
        yield []


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def ids(models: Sequence[Model]) -> list[str]:
    return [model.id for model in models]


async def test_models_stand_in_the_order_of_the_settings_and_the_demo_last() -> None:
    connections = [
        ConfiguredProvider("demo", DemoProvider(), last=True),
        ConfiguredProvider("b", Listed("x", "y")),
        ConfiguredProvider("a", Listed("z")),
    ]
    assert ids(await Providers(connections).models())[:4] == ["x", "y", "z", "demo"]


async def test_of_two_models_with_one_id_the_first_counts() -> None:
    first, second = Listed("x"), Listed("x", "y")
    providers = Providers([ConfiguredProvider("1", first), ConfiguredProvider("2", second)])
    assert ids(await providers.models()) == ["x", "y"]
    assert (await providers.resolve("x")).provider is first
    assert (await providers.resolve("y")).provider is second


async def test_a_prefix_tells_equal_names_apart() -> None:
    first, second = Listed("x"), Listed("x")
    providers = Providers([ConfiguredProvider("1", first), ConfiguredProvider("2", second, prefix="two")])
    assert ids(await providers.models()) == ["x", "two.x"]
    route = await providers.resolve("two.x")
    assert (route.provider, route.upstream, route.connection) == (second, "x", "2")


async def test_a_dead_server_does_not_hide_the_others() -> None:
    dead = Listed("x")
    dead.broken = True
    providers = Providers([ConfiguredProvider("dead", dead), ConfiguredProvider("b", Listed("y"))])
    assert ids(await providers.models()) == ["y"]
    assert providers.failures["dead"].code == "provider_unreachable"


async def test_a_server_that_is_away_is_not_listed_but_keeps_its_models() -> None:
    server, clock = Listed("x"), Clock()
    providers = Providers([ConfiguredProvider("a", server)], listed_s=10, clock=clock)
    await providers.models()
    server.broken, clock.now_s = True, 10
    assert await providers.models() == []
    assert (await providers.resolve("x")).provider is server
    server.broken, clock.now_s = False, 20
    assert ids(await providers.models()) == ["x"]
    assert not providers.failures


async def test_a_list_is_asked_for_once_by_many_and_believed_for_a_while() -> None:
    server, clock = Listed("x"), Clock()
    server.open.clear()
    providers = Providers([ConfiguredProvider("a", server)], listed_s=10, clock=clock)
    waiting = [asyncio.create_task(providers.models()) for _ in range(5)]
    await server.was_asked.wait()
    waiting[0].cancel()  # and one who leaves does not take the answer from the others
    server.open.set()
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(results[0], asyncio.CancelledError)
    assert [ids(result) for result in results[1:] if not isinstance(result, BaseException)] == [["x"]] * 4
    clock.now_s = 9
    await providers.models()
    assert server.asked == 1
    clock.now_s = 10
    await providers.models()
    assert server.asked == 2


async def test_a_known_model_is_found_without_asking_again() -> None:
    server, clock = Listed("x"), Clock()
    providers = Providers([ConfiguredProvider("a", server)], listed_s=10, clock=clock)
    await providers.resolve("x")
    clock.now_s = 100
    await providers.resolve("x")
    assert server.asked == 1


async def test_an_unlisted_number_of_demo_words_is_accepted() -> None:
    demo = DemoProvider()
    providers = Providers([ConfiguredProvider("a", Listed("x")), ConfiguredProvider("demo", demo, last=True)])
    route = await providers.resolve("demo:77")
    assert (route.provider, route.upstream) == (demo, "demo:77")


async def test_an_unknown_model_is_not_found() -> None:
    with pytest.raises(ModelNotFound):
        await Providers([ConfiguredProvider("a", Listed("x")), ConfiguredProvider("demo", DemoProvider(), last=True)]).resolve("demo:none")


async def test_closing_ends_the_listings_that_still_run() -> None:
    server = Listed("x")
    server.open.clear()
    providers = Providers([ConfiguredProvider("a", server)])
    waiting = asyncio.create_task(providers.models())
    await server.was_asked.wait()
    await providers.aclose()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_a_server_that_stays_silent_is_waited_for_once() -> None:
    silent, quick = Listed("x"), Listed("y")
    silent.open.clear()
    clock = Clock()
    providers = Providers([ConfiguredProvider("a", silent), ConfiguredProvider("b", quick)], wait_s=0.05, clock=clock)
    assert ids(await providers.models()) == ["y"]
    again = providers.models()
    with pytest.raises(StopIteration) as returned:
        again.send(None)  # it ends without having waited for anything
    assert ids(returned.value.value) == ["y"]
    await providers.aclose()


async def test_a_server_that_turns_silent_is_shown_with_what_is_known_of_it() -> None:
    server, clock = Listed("x"), Clock()
    providers = Providers([ConfiguredProvider("a", server)], wait_s=0.05, clock=clock)
    await providers.models()
    server.open.clear()
    clock.now_s = 100.0
    assert ids(await providers.models()) == ["x"]
    server.ids = ("z",)
    server.open.set()
    async with asyncio.timeout(60):
        while ids(await providers.models()) != ["z"]:  # noqa: ASYNC110  # a listing in the background has no event
            await asyncio.sleep(0)
    clock.now_s = 200.0
    server.ids = ("w",)
    assert ids(await providers.models()) == ["w"]  # it has answered, so it is waited for again


async def test_models_that_are_configured_are_known_without_asking() -> None:
    server = Listed("x")
    server.broken = True
    providers = Providers([ConfiguredProvider("a", server, "p", models=("m", "n"))])
    assert ids(await providers.models()) == ["p.m", "p.n"]
    assert (await providers.resolve("p.n")).upstream == "n"
    with pytest.raises(ModelNotFound):
        await providers.resolve("p.x")
    assert server.asked == 0


def test_two_connections_need_two_names() -> None:
    with pytest.raises(ValueError, match="name of its own"):
        Providers([ConfiguredProvider("a", Listed()), ConfiguredProvider("a", Listed())])
