"""What the annotation of a setting accepts, in words: for messages about wrong values, and for the table of settings."""

import types
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from msgspec import Meta

Url = Annotated[str, Meta(pattern=r"^https?://[^\s;]+$")]
ProxyUrl = Annotated[str, Meta(pattern=r"^(https?://[^\s;]+)?$")]


def unwrapped(annotation: Any) -> tuple[Any, list[Meta]]:
    """The type without ``Annotated``, and the ``Meta`` objects that annotate it."""
    if get_origin(annotation) is Annotated:
        inner, *metas = get_args(annotation)
        return inner, [meta for meta in metas if isinstance(meta, Meta)]
    return annotation, []


def is_list(annotation: Any) -> bool:
    return get_origin(unwrapped(annotation)[0]) is tuple


def form_of(annotation: Any) -> str:
    """The accepted form, such as "a whole number from 1 to 64"."""
    inner, metas = unwrapped(annotation)
    if get_origin(inner) in (Union, types.UnionType):
        inner, inner_metas = unwrapped(next(part for part in get_args(inner) if part is not type(None)))
        metas += inner_metas
    if get_origin(inner) is tuple:
        item = "URLs that start with http:// or https://" if get_args(inner)[0] in (Url, ProxyUrl) else "texts"
        return f"a list of {item} (in a variable with ; between them)"
    if get_origin(inner) is dict:
        return "an object (in a variable as JSON, in the file as a table)"
    if get_origin(inner) is Literal:
        *most, last = map(str, get_args(inner))
        return f"{', '.join(most)} or {last}"
    if any(meta.pattern is not None for meta in metas):  # that of ``Url``
        return "a URL that starts with http:// or https://"
    bounds = {key: value for meta in metas for key in ("ge", "gt", "le", "min_length") if (value := getattr(meta, key)) is not None}
    form = {str: "a text", int: "a whole number", float: "a number", bool: "true or false", Path: "a path"}[inner]
    if "ge" in bounds and "le" in bounds:
        return f"{form} from {bounds['ge']} to {bounds['le']}"
    if "ge" in bounds:
        return f"{form}, at least {bounds['ge']}"
    if "gt" in bounds:
        return f"{form} above {bounds['gt']}"
    if bounds.get("min_length", 1) > 1:
        return f"{form} of at least {bounds['min_length']} characters"
    return form
