"""``/api/tasks``: what is being generated, and stopping it. Leaving is not stopping."""

from asyncio import gather
from typing import Final
from uuid import UUID

import msgspec
from litestar import Controller, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, SkipValidation

from commands.accounts.accounts import Principal
from commands.chats.chats import Chats
from commands.generation.runs import Runs
from commands.ids import bound_id
from commands.ports import Nodes, OpenGeneration
from domain.errors import ChatNotFound, TaskNotFound

STOPPED: Final = "Task {} stopped"
NONE_RUNS: Final = "No tasks in chat {}"


class TasksOut(msgspec.Struct):
    tasks: list[UUID]


class ChatTasksOut(msgspec.Struct):
    task_ids: list[UUID]


class StoppedOut(msgspec.Struct):
    status: bool
    message: str


async def open_everywhere(nodes: Nodes) -> list[OpenGeneration]:
    """Every generation that is open in the cluster, from the log: what runs started above their nodes' beats."""
    beats = await nodes.beats()
    if not beats:
        return []
    return list(await nodes.open_generations(since=min(beat.open_since for beat in beats.values())))


class TasksController(Controller):
    path = "/api/tasks"
    tags = ("tasks",)

    @get("/")
    async def tasks(
        self, principal: NamedDependency[Principal], chats: NamedDependency[Chats], nodes: NamedDependency[SkipValidation[Nodes]]
    ) -> TasksOut:
        """The tasks of the caller's chats; of everyone's for an admin."""
        seen: list[UUID] = []
        for generation in await open_everywhere(nodes):
            _, chat = await chats.state(generation.stream.id, fresh=False)
            if principal.role == "admin" or chat.may_read(principal.user_id):
                seen.append(generation.task_id)
        return TasksOut(seen)

    @get("/chat/{chat_id:str}")
    async def tasks_of_chat(
        self, chat_id: FromPath[str], principal: NamedDependency[Principal], chats: NamedDependency[Chats]
    ) -> ChatTasksOut:
        """The tasks of one chat; an empty list where the caller may not see it, as the reference answers."""
        known_id, _ = bound_id(principal.user_id, chat_id)
        _, chat = await chats.state(known_id, generations=True)
        if not chat.may_read(principal.user_id):
            return ChatTasksOut([])
        return ChatTasksOut([generation.task_id for generation in chat.open_generations.values()])

    @post("/stop/{task_id:uuid}", status_code=200)
    async def stop(
        self,
        task_id: FromPath[UUID],
        principal: NamedDependency[Principal],
        chats: NamedDependency[Chats],
        runs: NamedDependency[Runs],
        nodes: NamedDependency[SkipValidation[Nodes]],
    ) -> StoppedOut:
        """Stop one answer, wherever in the cluster it runs; what it has said is kept."""
        run = runs.get(task_id)
        if run is not None:
            chat_id, message_id = run.chat_id, run.message_id
        else:
            found = [one for one in await open_everywhere(nodes) if one.task_id == task_id]
            if not found:
                raise TaskNotFound(task_id)
            chat_id, message_id = found[0].stream.id, found[0].message_id
        _, chat = await chats.state(chat_id)
        if not (chat.may_write(principal.user_id) or principal.role == "admin"):
            raise TaskNotFound(task_id)
        if not await runs.stop(chat_id, message_id, principal.user_id):
            raise TaskNotFound(task_id)
        return StoppedOut(True, STOPPED.format(task_id))

    @post("/chat/{chat_id:str}/stop", status_code=200)
    async def stop_chat(
        self, chat_id: FromPath[str], principal: NamedDependency[Principal], chats: NamedDependency[Chats], runs: NamedDependency[Runs]
    ) -> StoppedOut:
        """Stop every answer of one chat, also one whose server is gone. A chat in which none is running is no error."""
        known_id, _ = bound_id(principal.user_id, chat_id)
        _, chat = await chats.state(known_id, generations=True)
        if not chat.may_write(principal.user_id):
            raise ChatNotFound(chat_id)
        # Side by side: each of them waits for its provider to be left.
        stopped = sum(await gather(*(runs.stop(known_id, message_id, principal.user_id) for message_id in chat.open_generations)))
        return StoppedOut(True, f"{stopped} stopped" if stopped else NONE_RUNS.format(known_id))
