"""``litellm`` as a client of an OpenAI-compatible server: chat completions and Responses, with a tool, and what it raises."""

import json

import litellm
from driver import TOKEN, URL, caught, finish

litellm.suppress_debug_info = True  # or it prints where to ask for help
HELLO = [{"role": "user", "content": "Hello"}]
PARAMETERS = {"type": "object", "properties": {"thing": {"type": "string"}}}
LOOK_UP = {"type": "function", "function": {"name": "look_up", "parameters": PARAMETERS}}


def ask(model: str, messages: list = HELLO, key: str = TOKEN, **more: object) -> object:
    return litellm.completion(f"openai/{model}", messages, api_base=f"{URL}/v1", api_key=key, num_retries=0, max_retries=0, **more)


def text(stream: object) -> list[str]:
    return [piece.choices[0].delta.content for piece in stream if piece.choices and piece.choices[0].delta.content]


def called() -> str:
    messages = [{"role": "user", "content": "Where is the key?"}]
    message = ask("calling", messages, tools=[LOOK_UP]).choices[0].message
    results = [
        {"role": "tool", "tool_call_id": call.id, "content": f"where {json.loads(call.function.arguments)['thing']} always is"}
        for call in message.tool_calls
    ]
    return ask("calling", [*messages, message.model_dump(exclude_none=True), *results], tools=[LOOK_UP]).choices[0].message.content


def left() -> str:
    for piece in ask("endless", stream=True):
        if piece.choices[0].delta.content:
            return piece.choices[0].delta.content
    raise AssertionError("no word")


def respond(model: str, **more: object) -> object:
    return litellm.responses(model=f"openai/{model}", input="Hello", api_base=f"{URL}/v1", api_key=TOKEN, num_retries=0, **more)


def streamed_response() -> str:
    return "".join(one.delta for one in respond("words", stream=True) if one.type == "response.output_text.delta")


whole = ask("words")
finish(
    "litellm",
    models=litellm.get_valid_models(check_provider_endpoint=True, custom_llm_provider="openai", api_base=f"{URL}", api_key=TOKEN),
    whole=whole.choices[0].message.content,
    tokens=whole.usage.total_tokens,
    streamed=text(ask("words", stream=True)),
    silent="".join(text(ask("silent", stream=True))),
    responses={"whole": respond("words").output[0].content[0].text, "streamed": streamed_response()},
    called=called(),
    left=left(),
    errors={
        "wrong key": caught(lambda: ask("words", key="sk-wrong")),
        "unknown model": caught(lambda: ask("nobody/at:all")),
        "limited": caught(lambda: ask("limited")),
        "refused": caught(lambda: ask("refusing")),
        "failed": caught(lambda: ask("failing")),
        "limited stream": caught(lambda: list(ask("limited", stream=True))),
        "broken stream": caught(lambda: list(ask("broken", stream=True))),
    },
)
