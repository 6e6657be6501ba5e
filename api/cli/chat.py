"""``steno chat``: a conversation that goes on where it was, whatever happens to the server or the line."""

import asyncio
import contextlib
import select
import signal
import sys
from typing import Final
from uuid import uuid4

import rich_click as click
from click.exceptions import Exit

from api.cli.answer_text import AnswerText
from api.cli.login import (
    Failed,
    Target,
    chat_named,
    client_for,
    error_text,
    options,
    remember_model,
    remembered_model,
    run,
    token_for,
)
from api.cli.questions import TerminalQuestions
from api.cli.safe_text import safe, safe_line
from api.cli.terminal import Terminal
from stenograph_client import ApiError, Begun, Client, ClientError

RETRY_S: Final = 120.0  # a question that is asked while the server restarts waits for it as long
STOP_WAIT_S: Final = 2.0
PASTED_WITHIN_S: Final = 0.03
TITLE_CHARACTERS: Final = 60
HELP: Final = """\
/retry         ask the last question again
/model NAME    let another model answer; alone: list them
/help          this
/quit          leave (so does Ctrl-D)
Ctrl-C         stop the answer; twice, or while no answer comes: leave
A text of several lines that is pasted is one question.
"""


class ConversationLeft(Exception):
    """The person has left in the middle of an answer."""


class Conversation:
    """One chat and who answers in it. The chat is made with the first question."""

    def __init__(self, target: Target, token: str, model: str, chat_id: str | None, screen: Terminal) -> None:
        self.target = target
        self.token = token
        self.model = model
        self.chat_id = chat_id
        self.screen = screen
        self.question_id: str | None = None  # the last one, for /retry
        self.session_id = uuid4().hex  # what the server asks during an answer comes here first

    def client(self) -> Client:
        return client_for(self.target, self.token, retry_s=RETRY_S, on_state=self.screen.connection)

    async def ask(self, question: str) -> str:
        """Ask, and show the answer as it comes. Returns how it ended, as the event's type. Raises ``ConversationLeft``, ``ClientError``."""
        async with self.client() as client:
            chat_id = self.chat_id or str((await client.new_chat(title_of(question)))["id"])
            asked = {"id": str(uuid4()), "role": "user", "content": question}
            try:
                begun = await client.complete(self.model, chat_id=chat_id, session_id=self.session_id, user_message=asked)
            except ApiError:
                if self.chat_id is None:  # such as for a model that is not there: no empty chat is left behind
                    await client.delete_chat(chat_id)
                raise
            self.chat_id, self.question_id = chat_id, asked["id"]
            return await self._show(client, begun)

    async def retry(self) -> str:
        """The last question again: its new answer stands beside the old one."""
        async with self.client() as client:
            parent_id = self.question_id or await self._last_question(client)
            if self.chat_id is None or parent_id is None:
                raise Failed("There is no question yet.")
            begun = await client.complete(self.model, chat_id=self.chat_id, session_id=self.session_id, parent_id=parent_id)
            return await self._show(client, begun)

    async def _last_question(self, client: Client) -> str | None:
        if self.chat_id is None:
            return None
        history = (await client.chat(self.chat_id))["chat"]["history"]
        at = history.get("currentId")
        while at is not None:
            message = history["messages"][at]
            if message["role"] == "user":
                return str(at)
            at = message.get("parentId")
        return None

    async def _show(self, client: Client, begun: Begun) -> str:
        talk = AnswerText(frozenset(begun.message_ids or [begun.message_id]))
        loop = asyncio.get_running_loop()
        reader = asyncio.ensure_future(self._read(client, begun, talk))
        stopping: set[asyncio.Task[None]] = set()

        def interrupted() -> None:
            if stopping:
                reader.cancel()
                return
            stopping.add(loop.create_task(self._stop(client, begun)))

        loop.add_signal_handler(signal.SIGINT, interrupted)
        try:
            await reader
        except asyncio.CancelledError:
            if not stopping:
                raise
            raise ConversationLeft from None
        finally:
            loop.remove_signal_handler(signal.SIGINT)
            self.screen.end_line()
            if stopping:  # the user leaves at once; the answer is still to be stopped
                await asyncio.wait(stopping, timeout=STOP_WAIT_S)
                for task in stopping:
                    task.cancel()
        return talk.outcome or "message_end"

    async def _read(self, client: Client, begun: Begun, talk: AnswerText) -> None:
        questions = TerminalQuestions(self.screen)
        answer = client.answer(begun, on_call=questions.ask, session_id=self.session_id)
        async with contextlib.aclosing(answer) as events:
            async for event in events:
                for piece in talk.feed(event):
                    questions.show(piece)

    async def _stop(self, client: Client, begun: Begun) -> None:
        for task_id in begun.task_ids or [begun.task_id]:
            with contextlib.suppress(ClientError):  # it has ended already, or the server is away: the answer itself shows it
                await client.stop(task_id)


def title_of(question: str) -> str:
    title = " ".join(question.split())
    return title if len(title) <= TITLE_CHARACTERS else title[: TITLE_CHARACTERS - 1] + "…"


async def open_conversation(target: Target, model: str | None, named: str | None, screen: Terminal, *, remembers: bool) -> Conversation:
    """``named``: the chat to go on with, as it was typed. ``remembers``: this model answers in the next conversation too."""
    chat_id = None
    token = await token_for(target)
    async with client_for(target, token) as client:
        if named is not None:
            chat_id = await chat_named(client, named)
        known = [str(one["id"]) for one in await client.models()]
        wanted = model or remembered_model(target.url)
        if model is None and wanted not in known:
            wanted = "demo" if "demo" in known else next(iter(known), None)
        if wanted is None:
            raise Failed(
                "No model is configured on this server.\n"
                "Start it with one:  STENO_OPENAI_BASE_URLS=https://…/v1 STENO_OPENAI_API_KEYS=… steno serve\n"
                "or with Ollama:     STENO_OLLAMA_BASE_URLS=http://localhost:11434 steno serve"
            )
    if model is not None and remembers:
        remember_model(target.url, model)
    return Conversation(target, token, wanted, chat_id, screen)


@click.command()
@click.argument("question", required=False)
@click.option("--model", help="Who answers. Default: the model of the last conversation, else `demo`. With a QUESTION: to that one alone.")
@click.option("--chat", "chat_id", metavar="ID", help="Go on with this chat: its id, or `last`.")
@options
def chat(target: Target, question: str | None, model: str | None, chat_id: str | None) -> None:
    """Talk with a model. With a QUESTION (or a pipe): one answer, and the end.

    The answer runs on the server: lose the line, or restart the server, and it goes on at the exact word.
    """
    screen = Terminal()
    if question is None and not sys.stdin.isatty():
        question = sys.stdin.read()
    if question is not None and not question.strip():
        raise click.UsageError("the question is empty")
    conversation = run(open_conversation(target, model, chat_id, screen, remembers=question is None))
    if question is not None:
        answer_once(conversation, question)
    else:
        converse(conversation)


def answer_once(conversation: Conversation, question: str) -> None:
    try:
        outcome = run(conversation.ask(question))
    except ConversationLeft:
        outcome = "cancelled"
    if outcome == "cancelled":
        raise Exit(130)
    if outcome != "message_end":
        raise Exit(1)


def converse(conversation: Conversation) -> None:
    """Questions from the terminal until the person leaves."""
    import readline  # noqa: F401  # gives input() a history and line editing

    click.secho(f"{safe_line(conversation.model)} at {conversation.target.url} · /help", dim=True)
    while True:
        try:
            line = typed()
        except EOFError:
            click.echo()
            break
        except KeyboardInterrupt:
            click.echo()
            goodbye(conversation)
            raise Exit(130) from None
        if line in ("/quit", "/exit"):
            break
        try:
            obey(conversation, line)
        except (ConversationLeft, KeyboardInterrupt):
            goodbye(conversation)
            raise Exit(130) from None
        except ClientError as error:
            click.secho(safe(error_text(error)), fg="red", err=True)
        except Failed as failed:
            failed.show()
    goodbye(conversation)


def typed() -> str:
    """What was typed, or all lines of what was pasted at once."""
    lines = [input("\001\033[1m\002> \001\033[0m\002")]  # \001 and \002 tell readline what takes no room
    while select.select([sys.stdin], [], [], PASTED_WITHIN_S)[0]:  # nobody types the next line so soon
        try:
            lines.append(input())
        except EOFError:
            break
    return "\n".join(lines).strip()


def obey(conversation: Conversation, line: str) -> None:
    """One line that was typed. Raises ``ConversationLeft``, ``ClientError``, ``Failed``."""
    command, _, argument = line.partition(" ")
    match command:
        case "":
            pass
        case "/help":
            click.echo(HELP, nl=False)
        case "/retry":
            asyncio.run(conversation.retry())
        case "/model":
            asyncio.run(choose(conversation, argument.strip()))
        case _ if command.startswith("/") and "/" not in command[1:]:
            raise Failed(f"There is no {command}. /help lists what there is.")
        case _:
            try:
                asyncio.run(conversation.ask(line))
            except ApiError as refused:
                if refused.code == "model_not_found":
                    raise Failed(f"{refused.detail}\n/model lists what there is.") from None
                raise


async def choose(conversation: Conversation, model: str) -> None:
    async with conversation.client() as client:
        known = [str(one["id"]) for one in await client.models()]
    if not model:
        for one in known:
            click.echo(("* " if one == conversation.model else "  ") + safe_line(one))
        return
    conversation.model = model
    remember_model(conversation.target.url, model)
    click.secho(f"{safe_line(model)} answers from now on." + ("" if model in known else " (The server does not list it.)"), dim=True)


def goodbye(conversation: Conversation) -> None:
    if conversation.chat_id is not None:
        click.secho(f"Go on with:  steno chat --chat {conversation.chat_id}", dim=True)
