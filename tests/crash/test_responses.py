"""``kill -9`` of the server in the middle of a response, which OpenAI's own client then resumes on a new start."""

from __future__ import annotations  # the clients' classes are not loaded for the sake of a signature

import asyncio
import random

import pytest

from tests.clients.packages import openai
from tests.crash.conftest import StartServer, on_one_and_two
from tests.crash.support import people

pytestmark = [pytest.mark.anyio, pytest.mark.slow, on_one_and_two]

RESPONSES = 6


async def test_a_response_is_resumed_after_the_death_of_its_server(new_server: StartServer, database: str) -> None:
    chance = random.Random(11)
    server = await new_server(database).start()
    async with (
        people(server.url, "ada") as (ada,),
        openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key=ada.token, max_retries=0) as client,
    ):

        async def begun() -> list[openai.types.responses.ResponseStreamEvent]:
            """What is seen of a response until the server dies."""
            seen = []
            left = chance.randint(5, 60)
            stream = await client.responses.create(model="demo:300", input="Tell me", stream=True, background=True)
            async for event in stream:
                seen.append(event)
                left -= 1
                if not left:
                    break
            await stream.close()
            return seen

        seen = await asyncio.gather(*(begun() for _ in range(RESPONSES)))
        server.kill()
        await server.start()
        for events in seen:
            first = events[0]
            assert first.type == "response.created"
            resumed = await client.responses.retrieve(first.response.id, stream=True, starting_after=events[-1].sequence_number)
            whole = [*events, *[event async for event in resumed]]
            assert [event.sequence_number for event in whole] == list(range(len(whole)))
            last = whole[-1]
            assert last.type == "response.failed"
            assert last.response.error is not None and last.response.error.code == "server_error"
            deltas = "".join(event.delta for event in whole if event.type == "response.output_text.delta")
            assert deltas and last.response.output_text == deltas
            again = [event async for event in await client.responses.retrieve(first.response.id, stream=True)]
            assert [event.to_dict() for event in again] == [event.to_dict() for event in whole]
            go_on = await client.responses.create(model="demo:3", input="Go on.", previous_response_id=first.response.id)
            assert go_on.status == "completed"
