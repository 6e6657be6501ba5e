"""``openwebui-sdk``: signs in, makes a chat, asks, and saves the turn."""

import uuid

from driver import GIVEN, TOKEN, URL, caught, finish
from openwebui_sdk import OpenWebUIClient

ours = OpenWebUIClient(URL)
session = ours.signin(GIVEN["email"], GIVEN["password"])
key = OpenWebUIClient(URL, TOKEN)
chat_id = ours.create_chat(title="New Chat", model="words")
pieces: list[str] = []
asked = [{"role": "user", "content": "What is it?"}]
result = ours.run_chat(model="words", messages=asked, extra={"chat_id": chat_id}, on_text=pieces.append)
message_id = str(uuid.uuid4())
title = ours.save_chat(chat_id=chat_id, message_id=message_id, model="words", prompt_text="What is it?", answer=result.answer)
stream = ours.chat_stream(model="endless", messages=asked)
finish(
    "openwebui-sdk",
    user=[session.user_id, session.role, key.session().user_id],
    models=[one.id for one in ours.list_models()],
    model=ours.get_model("words").id,
    tools=[ours.resolve_tools("words"), ours.list_tools(), ours.list_functions()],
    chat_id=chat_id,
    message_id=message_id,
    pieces=pieces,
    whole=ours.chat_once(model="words", messages=asked),
    silent="".join(ours.chat_stream(model="silent", messages=asked)),
    left=next(stream),
    title=title,
    errors={
        "wrong key": caught(lambda: OpenWebUIClient(URL, "sk-wrong").list_models()),
        "wrong password": caught(lambda: OpenWebUIClient(URL).signin(GIVEN["email"], "not this one")),
        "unknown model": caught(lambda: ours.chat_once(model="nobody/at:all", messages=asked)),
        "limited": caught(lambda: ours.chat_once(model="limited", messages=asked)),
        "limited stream": caught(lambda: list(ours.chat_stream(model="limited", messages=asked))),
    },
)
