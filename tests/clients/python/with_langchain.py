"""``langchain-openai``: chat completions and Responses, with a tool, and what it raises."""

from driver import TOKEN, URL, caught, finish
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI


@tool
def look_up(thing: str) -> str:
    """Say where a thing is."""
    return f"where {thing} always is"


def model(name: str, key: str = TOKEN, **more: object) -> ChatOpenAI:
    return ChatOpenAI(model=name, base_url=f"{URL}/v1", api_key=key, max_retries=0, **more)


def called() -> str:
    asking = model("calling").bind_tools([look_up])
    messages = [HumanMessage("Where is the key?")]
    answer = asking.invoke(messages)
    results = [ToolMessage(look_up.invoke(call["args"]), tool_call_id=call["id"]) for call in answer.tool_calls]
    return asking.invoke([*messages, answer, *results]).content


def left() -> str:
    stream = model("endless").stream("Hello")
    first = next(stream).content or next(stream).content
    stream.close()
    return first


def text(stream: object) -> list[str]:
    return [piece.text for piece in stream if piece.text]


whole = model("words").invoke("Hello")
responses = model("words", use_responses_api=True)
finish(
    "langchain-openai",
    models=[one.id for one in model("words").root_client.models.list()],
    whole=whole.content,
    tokens=whole.usage_metadata["total_tokens"],
    streamed=text(model("words").stream("Hello")),
    silent="".join(text(model("silent").stream("Hello"))),
    responses={"whole": responses.invoke("Hello").text, "streamed": "".join(text(responses.stream("Hello")))},
    called=called(),
    left=left(),
    errors={
        "wrong key": caught(lambda: model("words", "sk-wrong").invoke("Hello")),
        "unknown model": caught(lambda: model("nobody/at:all").invoke("Hello")),
        "limited": caught(lambda: model("limited").invoke("Hello")),
        "refused": caught(lambda: model("refusing").invoke("Hello")),
        "failed": caught(lambda: model("failing").invoke("Hello")),
        "limited stream": caught(lambda: list(model("limited").stream("Hello"))),
        "broken stream": caught(lambda: list(model("broken").stream("Hello"))),
    },
)
