"""Each relative link of each page leads to a file that is there, and each anchor to a heading."""

from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests.docs.pages import ROOT, anchors, links, pages


def broken(page: Path) -> list[str]:
    found = []
    for link in links(page):
        parts = urlsplit(link)
        if parts.scheme or parts.netloc:
            continue
        target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
        is_missing = not target.exists() or not target.is_relative_to(ROOT)
        if is_missing or (parts.fragment and target.suffix == ".md" and parts.fragment not in anchors(target)):
            found.append(link)
    return found


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    assert broken(page) == []


def test_a_link_to_a_missing_file_or_heading_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.docs.test_links.ROOT", tmp_path)
    (tmp_path / "there.md").write_text("# A heading, with `code`\n\n```sh\n# no heading\n```\n")
    page = tmp_path / "page.md"
    page.write_text(
        "[a](there.md) [b](there.md#a-heading-with-code) [c](gone.md) [d](there.md#no-heading)\n`[e](code.md)`\n"
        "```\n[f](fenced.md)\n```\n[g](https://example.org/x) [h](#nowhere) [i](../outside.md)\n"
    )
    assert broken(page) == ["gone.md", "there.md#no-heading", "#nowhere", "../outside.md"]


def test_every_page_of_the_documentation_is_linked_from_another_page() -> None:
    linked = {(page.parent / unquote(urlsplit(link).path)).resolve() for page in pages() for link in links(page) if urlsplit(link).path}
    unlinked = {page for page in pages() if page.is_relative_to(ROOT / "docs")} - linked
    assert unlinked == set()
