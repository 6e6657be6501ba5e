"""``/api/tasks``: what is being generated, and stopping it. Leaving is not stopping."""

from asyncio import gather
from typing import Final
from uuid import UUID

import msgspec
from litestar import Controller, get, post
from litestar.di import NamedDependency, Provide
from litestar.params import FromPath, SkipValidation

from commands.accounts.principal import Principal, actor_of
from commands.channels.channel_reader import ChannelReader
from commands.channels.channels import Channels
from commands.chats.chats import Chats
from commands.generation.runs import Runs
from commands.ids import bound_id
from commands.ports import Nodes, OpenGeneration
from domain.channel.rights import may_read, may_stop
from domain.errors import ChatNotFound, TaskNotFound
from domain.log.stream import Stream, chat_stream

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


class TaskAccess:
    """Which answers the caller may know of, and which they may stop: in chats and in channels."""

    def __init__(self, principal: Principal, chats: Chats, channels: Channels, channel_reader: ChannelReader) -> None:
        self._principal = principal
        self._chats = chats
        self._channels = channels
        self._asker = channel_reader.asker(actor_of(principal))

    async def may_see(self, stream: Stream) -> bool:
        if stream.kind == "channel":
            _, channel = await self._channels.state(stream.id, fresh=False)
            return self._principal.role == "admin" or may_read(channel, self._asker)
        _, chat = await self._chats.state(stream.id, fresh=False)
        return self._principal.role == "admin" or chat.may_read(self._principal.user_id)

    async def may_stop(self, stream: Stream, message_id: UUID) -> bool:
        if stream.kind == "channel":
            _, channel = await self._channels.state(stream.id, messages=[message_id])
            node = channel.messages.get(message_id)
            return node is not None and may_stop(channel, self._asker, node)
        _, chat = await self._chats.state(stream.id)
        return chat.may_write(self._principal.user_id) or self._principal.role == "admin"


def provide_task_access(
    principal: NamedDependency[Principal],
    chats: NamedDependency[Chats],
    channels: NamedDependency[Channels],
    channel_reader: NamedDependency[ChannelReader],
) -> TaskAccess:
    return TaskAccess(principal, chats, channels, channel_reader)


class TasksController(Controller):
    path = "/api/tasks"
    tags = ("tasks",)
    dependencies = {"task_access": Provide(provide_task_access, sync_to_thread=False)}  # noqa: RUF012  # Litestar reads it once

    @get("/")
    async def tasks(self, task_access: NamedDependency[TaskAccess], nodes: NamedDependency[SkipValidation[Nodes]]) -> TasksOut:
        """The tasks of the caller's chats and channels; of everyone's for an admin."""
        return TasksOut([one.task_id for one in await open_everywhere(nodes) if await task_access.may_see(one.stream)])

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
        task_access: NamedDependency[TaskAccess],
        runs: NamedDependency[Runs],
        nodes: NamedDependency[SkipValidation[Nodes]],
    ) -> StoppedOut:
        """Stop one answer, wherever in the cluster it runs; what it has said is kept. In a channel: who asked for it, and its managers."""
        run = runs.get(task_id)
        if run is not None:
            stream, message_id = run.stream, run.message_id
        else:
            found = [one for one in await open_everywhere(nodes) if one.task_id == task_id]
            if not found:
                raise TaskNotFound(task_id)
            stream, message_id = found[0].stream, found[0].message_id
        if not await task_access.may_stop(stream, message_id):
            raise TaskNotFound(task_id)
        if not await runs.stop(stream, message_id, principal.user_id):
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
        stream = chat_stream(known_id)
        # Side by side: each of them waits for its provider to be left.
        stopped = sum(await gather(*(runs.stop(stream, message_id, principal.user_id) for message_id in chat.open_generations)))
        return StoppedOut(True, f"{stopped} stopped" if stopped else NONE_RUNS.format(known_id))
