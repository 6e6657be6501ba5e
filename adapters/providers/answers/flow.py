"""What is new in a piece of text from a provider, whose pieces may repeat what came before them."""

from typing import Final

CHAIN_CHARS_MIN: Final = 12  # of a piece that repeats all before it, from which on this is no coincidence
REPEATED_CHARS_MIN: Final = 16  # of what a last piece repeats


class Flow:
    """One kind of text of one answer.

    Most providers send what is new, some all of it every time. The two differ only in whether each piece begins with everything
    before it, so a piece that does is held until the next one has shown which it is. A provider that repeats nothing is never held.
    """

    __slots__ = ("_held", "_is_cumulative", "said", "settled")

    def __init__(self) -> None:
        self.settled = False  # pieces are known to be new text: they need not come through ``new``
        self.said: list[str] = []
        self._held: list[str] = []  # each begins with the one before it, the first with all that was said
        self._is_cumulative = False

    def new(self, text: str) -> list[str]:
        """What of ``text``, and of what was held before it, is to be said now."""
        if self._is_cumulative:
            return self._said([self._beyond(text)])
        if self.settled or not self.said:
            return self._said([text])
        last = self._held[-1] if self._held else "".join(self.said)
        grows = len(text) > len(last) and text.startswith(last)
        repeats = bool(self._held) and text == last and len(last) >= CHAIN_CHARS_MIN
        if not grows and not repeats:
            return [*self._resolve(cumulative=False), *self._said([text])]
        self._held.append(text)
        return self._resolve(cumulative=True) if len(self._held) > 1 and len(text) >= CHAIN_CHARS_MIN else []

    def rest(self, whole: str) -> list[str] | None:
        """What is new in a whole text after pieces of it. ``None``: it is another text than its pieces."""
        said = "".join(self.said)
        first: list[str] = []
        if self._held:
            first = self._resolve(cumulative=not whole.startswith(said + "".join(self._held)))
            said = "".join(self.said)
        for known in (said, said.lstrip(), said.rstrip(), said.strip()):
            if whole.startswith(known):
                return [*first, *self._said([whole[len(known) :]])]
        return first if said.strip().startswith(whole.strip()) else first or None

    def repeats(self, text: str) -> bool:
        """Whether a last piece is the whole text once more."""
        return len(text) >= REPEATED_CHARS_MIN and not self._held and text == "".join(self.said)

    def flush(self) -> list[str]:
        """What is still held, when nothing of this kind follows."""
        if not self._held:
            return []
        return self._resolve(cumulative=len(self._held) > 1 or sum(map(len, self.said)) >= REPEATED_CHARS_MIN)

    def _resolve(self, *, cumulative: bool) -> list[str]:
        self.settled, self._is_cumulative = not cumulative, cumulative
        held, self._held = self._held, []
        return self._said([self._beyond(held[-1])] if cumulative else held)

    def _beyond(self, text: str) -> str:
        said = "".join(self.said)
        if text.startswith(said):
            return text[len(said) :]
        return "" if said.startswith(text) else text

    def _said(self, pieces: list[str]) -> list[str]:
        self.said += pieces
        if self._is_cumulative and len(self.said) > 1:
            self.said = ["".join(self.said)]
        return pieces
