"""What happens in a channel, as lines of a replay: one for each event that its readers see."""

from typing import Any

from domain.channel.mentions import without_markup
from stenograph_client import Event


def about_channel(event: Event, names: dict[str, str]) -> str:
    """A line; "" for what a reader of the channel need not see. ``names`` says what messages are called, and learns it."""
    data: dict[str, Any] = event.data if isinstance(event.data, dict) else {}
    who = writer(event, data)
    message_id = event.message_id or ""
    named = names.get(message_id, f"message {message_id[-4:]}")
    match event.type:
        case "channel:created":
            return f"{who} made “{data.get('name')}”"
        case "channel:update":
            changed = [name for name in ("name", "description", "is_private", "data", "meta") if data.get(name) not in (None, {})]
            return f"{who} named it “{data['name']}”" if "name" in changed else f"{who} changed the channel: {', '.join(changed)}"
        case "channel:archived" | "channel:unarchived":
            return f"{who} {event.type.removeprefix('channel:')} the channel"
        case "channel:delete":
            return f"{who} deleted the channel"
        case "member:joined" | "member:left" | "member:role":
            return f"{who}: {event.type.replace(':', ' ')} {str(data.get('user_id'))[-4:]}{role_of(data)}"
        case "webhook:created" | "webhook:changed":
            return f"{who} {event.type.removeprefix('webhook:')} the webhook “{data.get('name')}”"
        case "message":
            names[message_id] = f"{who}'s message {message_id[-4:]}"
            above = data.get("parent_id") or data.get("reply_to_id")
            place = f", to {names.get(str(above), f'message {str(above)[-4:]}')}" if above else ""
            return f"{who}{place}: {text_of(data.get('content'))}"
        case "message:update":
            return f"{who} edited {named}: {text_of(data['content'])}" if "content" in data else f"{who} edited {named}"
        case "message:delete":
            return f"{who} deleted {named}"
        case "message:reaction:add":
            return f"{who} reacted to {named}: {data.get('name')}"
        case "message:reaction:remove":
            return f"{who} took a reaction to {named} away: {data.get('name')}"
        case "message:pin" | "message:unpin":
            return f"{who} {event.type.removeprefix('message:')}ned {named}"
        case _:
            return ""


def writer(event: Event, data: dict[str, Any]) -> str:
    if event.user is not None:
        return event.user.name
    meta = data.get("meta")
    webhook = meta.get("webhook") if isinstance(meta, dict) else None
    return str(webhook.get("name")) if isinstance(webhook, dict) else "the server"


def role_of(data: dict[str, Any]) -> str:
    return f" as {data['role']}" if data.get("role") else ""


def text_of(content: object) -> str:
    return without_markup(content) if isinstance(content, str) else "a long text, kept beside the log"
