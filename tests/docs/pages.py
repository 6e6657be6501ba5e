"""The documentation's pages as the tests read them: links, headings, tables and shell blocks."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).parents[2]
FENCE: Final = re.compile(r"^( *)(```+|~~~+) *([^\n`]*)\n(.*?)^\1\2 *$", re.DOTALL | re.MULTILINE)
LINK: Final = re.compile(r"(?<!!)\[(?:[^\[\]]|\[[^\[\]]*\])*\]\(<?([^()\s>]+)>?\)")
HEADING: Final = re.compile(r"^#{1,6} +(.+?) *#*$", re.MULTILINE)
CODE: Final = re.compile(r"`+[^`\n]+`+")


class Fence(NamedTuple):
    info: str  # what stands behind the opening fence, such as ``sh``
    content: str


def pages() -> list[Path]:
    """Every Markdown file that belongs to the project."""
    folders = ("docs", "tests", "web", "client", "stenograph_client", "bench")
    found = [*ROOT.glob("*.md"), *(path for folder in folders for path in (ROOT / folder).rglob("*.md"))]
    return sorted(path for path in found if "node_modules" not in path.parts)


def fences(page: Path) -> list[Fence]:
    """The fenced blocks in order, without the indentation of a list."""
    return [
        Fence(info.strip(), "".join(line.removeprefix(indent) for line in content.splitlines(keepends=True)))
        for indent, _, info, content in FENCE.findall(page.read_text())
    ]


def prose(page: Path) -> str:
    """The page without its fenced blocks."""
    return FENCE.sub("", page.read_text())


def links(page: Path) -> Iterator[str]:
    """The targets of all links, as they are written. What looks like a link within code is none."""
    yield from LINK.findall(CODE.sub("`", prose(page)))


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub makes of the page's headings."""
    known: dict[str, int] = {}
    found: set[str] = set()
    for heading in HEADING.findall(prose(page)):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        anchor = re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
        number = known.get(anchor, 0)
        known[anchor] = number + 1
        found.add(f"{anchor}-{number}" if number else anchor)
    return found


def rows(page: Path, first_header: str) -> list[Sequence[str]]:
    """The rows of all tables whose first header cell is ``first_header``. ``\\|`` within a cell is kept as ``|``."""
    found: list[Sequence[str]] = []
    inside = False
    for line in prose(page).splitlines():
        if not line.startswith("|"):
            inside = False
            continue
        cells = [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if cells[0] == first_header:
            inside = True
        elif inside and not set(cells[0]) <= set("-: "):
            found.append(cells)
    return found
