"""What a model is told of the files that are attached to a message: pictures themselves, of all others what they are called and are.

The text of a file is not read here: a client puts it into the message, or a filter does, where a model is to see it.
"""

from collections.abc import Mapping
from html import escape
from typing import Any, Final

FILES_MAX: Final = 50  # of one message
CHARACTERS_MAX: Final = 300  # of a name
IMAGE_URLS: Final = ("data:image/", "https://", "http://")


def with_files(content: Any, files: Any) -> Any:
    """The content with the pictures that were attached to it, and a line for each other file before it."""
    attached = [file for file in files if isinstance(file, Mapping)] if isinstance(files, list) else []
    if not attached or not isinstance(content, str | list):
        return content
    images = [{"type": "image_url", "image_url": {"url": file["url"]}} for file in attached if is_image(file)]
    lines = [line for file in attached if not is_image(file) and (line := line_of(file))][:FILES_MAX]
    if lines:
        listed = "\n".join(["<attached_files>", *lines, "</attached_files>"])
        content = f"{listed}\n\n{content}" if isinstance(content, str) else [{"type": "text", "text": listed}, *content]
    if not images:
        return content
    return [*(content if isinstance(content, list) else [{"type": "text", "text": content}]), *images]


def is_image(file: Mapping[str, Any]) -> bool:
    url = file.get("url")
    return file.get("type") == "image" and isinstance(url, str) and url.startswith(IMAGE_URLS)


def line_of(file: Mapping[str, Any]) -> str:
    """Name, kind and size, as far as they are known; nothing for a file without a name."""
    inner = file.get("file")
    stored = inner if isinstance(inner, Mapping) else {}
    meta = stored.get("meta")
    known = {**(meta if isinstance(meta, Mapping) else {}), **file}
    attributes = {
        "type": known.get("type", "file"),
        "name": known.get("name") or stored.get("filename"),
        "content_type": known.get("content_type"),
        "size_bytes": known.get("size"),
    }
    said = [
        f'{name}="{escape(str(value)[:CHARACTERS_MAX])}"'
        for name, value in attributes.items()
        if isinstance(value, str | int) and not isinstance(value, bool) and value != ""
    ]
    return f"<file {' '.join(said)}/>" if isinstance(attributes["name"], str) and attributes["name"] else ""
