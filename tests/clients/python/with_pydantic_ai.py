"""``pydantic-ai``: its chat and Responses models, with a tool, and what it raises."""

import asyncio

from driver import TOKEN, URL, caught_in, finish
from openai import AsyncOpenAI
from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.openai import OpenAIProvider


def agent(name: str, key: str = TOKEN, kind: type = OpenAIChatModel) -> Agent:
    client = AsyncOpenAI(base_url=f"{URL}/v1", api_key=key, max_retries=0)
    made = Agent(kind(name, provider=OpenAIProvider(openai_client=client)))

    @made.tool_plain
    def look_up(thing: str) -> str:
        """Say where a thing is."""
        return f"where {thing} always is"

    return made


async def streamed(made: Agent) -> list[str]:
    async with made.run_stream("Hello") as result:
        return [piece async for piece in result.stream_text(delta=True, debounce_by=None)]


async def left() -> str:
    async with agent("endless").run_stream("Hello") as result:
        async for piece in result.stream_text(delta=True, debounce_by=None):
            return piece
    raise AssertionError("no word")


async def main() -> None:
    whole = await agent("words").run("Hello")
    responses = agent("words", kind=OpenAIResponsesModel)
    async with AsyncOpenAI(base_url=f"{URL}/v1", api_key=TOKEN) as client:  # the library itself lists none
        models = [one.id async for one in client.models.list()]
    finish(
        "pydantic-ai-slim",
        models=models,
        whole=whole.output,
        tokens=whole.usage.total_tokens,
        streamed=await streamed(agent("words")),
        silent="".join(await streamed(agent("silent"))),
        responses={"whole": (await responses.run("Hello")).output, "streamed": "".join(await streamed(responses))},
        called=(await agent("calling").run("Where is the key?")).output,
        left=await left(),
        errors={
            "wrong key": await caught_in(agent("words", "sk-wrong").run("Hello")),
            "unknown model": await caught_in(agent("nobody/at:all").run("Hello")),
            "limited": await caught_in(agent("limited").run("Hello")),
            "refused": await caught_in(agent("refusing").run("Hello")),
            "failed": await caught_in(agent("failing").run("Hello")),
            "limited stream": await caught_in(streamed(agent("limited"))),
            "broken stream": await caught_in(streamed(agent("broken"))),
        },
    )


asyncio.run(main())
