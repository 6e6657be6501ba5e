"""``openwebui-chat-client``: it asks for an answer and saves the turn itself. It finds chats by their titles, right after it made them."""

import asyncio

from driver import GIVEN, TOKEN, URL, finish
from openwebui_chat_client import OpenWebUIClient
from openwebui_chat_client.async_openwebui_client import AsyncOpenWebUIClient


def client(token: str = TOKEN, model: str = "words") -> OpenWebUIClient:
    made = OpenWebUIClient(URL, token, model)
    made._auto_cleanup_enabled = False  # what it would do when the program ends
    return made


def streamed(question: str, title: str) -> dict:
    """The pieces, and what the generator returns. It makes a pool of empty turns to fill, and waits before the first request."""
    pieces = []
    stream = ours.stream_chat(question, title, placeholder_pool_size=3, min_available_messages=1, wait_before_request=0)
    while True:
        try:
            pieces.append(next(stream))
        except StopIteration as ended:
            return {"pieces": pieces, "response": ended.value["response"], "chat_id": ours.chat_id}


async def asynchronous() -> list:
    async with AsyncOpenWebUIClient(URL, TOKEN, "words") as made:
        answers = [await made.chat(question, "Not waiting") for question in ("One?", "Two?")]
        return [*answers, len(await made.list_chats())]


if GIVEN["flow"] == "clean":
    finish("openwebui-chat-client", deleted=client().delete_all_chats(), left=client().list_chats())
    raise SystemExit

ours = client()
first = ours.chat("What is it?", "Conversation", tags=["Good", "new tag"], folder_name="Work")
second = ours.chat("And then?", "Conversation", enable_follow_up=True, enable_auto_tagging=True, enable_auto_titling=True)
third = client().chat("A third?", "Conversation")
chats = ours.list_chats()
folder_id = ours.get_folder_id_by_name("Work")
in_folder = ours.get_chats_by_folder(folder_id)
renamed = ours.rename_chat(first["chat_id"], "Another name")
found = ours._chat_manager._search_latest_chat_by_title("Another name")
switched = ours.switch_chat_model(first["chat_id"], ["demo:5"])
after_switch = ours._get_chat_details(first["chat_id"])
finish(
    "openwebui-chat-client",
    models=[one["id"] for one in ours.list_models()],
    turns=[first, second, third],
    titles=[one["title"] for one in chats],
    in_folder=[one["id"] for one in in_folder],
    renamed=renamed,
    found=found["id"],
    switched=[switched, after_switch["chat"]["models"]],
    parallel=ours.parallel_chat("Both?", "Side by side", ["words", "demo:5"]),
    parallel_id=ours.chat_id,
    streamed=[streamed("Streamed?", "Streamed"), streamed("Again?", "Streamed")],
    asynchronous=asyncio.run(asynchronous()),
    archived=ours.archive_chat(first["chat_id"]),
    listed=[one["title"] for one in ours.list_chats()],
    refused=[
        client("sk-wrong").chat("Hello", "Wrong key"),
        client().chat("Hello", "Unknown model", "nobody/at:all"),
        client().chat("Hello", "Limited", "limited"),
    ],
)
