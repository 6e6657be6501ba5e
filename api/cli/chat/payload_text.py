"""What a model was sent, as ``steno replay --payloads`` shows it below the beginning of its answer."""

import json
from collections.abc import Mapping
from contextlib import suppress

from stenograph_client import Event


def payload_text(event: Event, blobs: Mapping[str, str]) -> str:
    """Lines for one ``message_start``. ``blobs``: texts by their sha256, in hex."""
    sha256 = event.data.get("payload_sha256")
    if not isinstance(sha256, str):
        return "── what it was sent is not noted, or hidden from you\n"
    kept = event.data.get("payload")
    text = blobs.get(str(kept.get("blob"))) if isinstance(kept, Mapping) else None
    if text is None:
        return f"── it was sent a payload with sha256 {sha256}, which was not kept\n"
    with suppress(ValueError):  # what is no JSON is shown as it is: an auditor wants to see it
        text = json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    return f"── it was sent this, with sha256 {sha256}:\n{text}\n"
