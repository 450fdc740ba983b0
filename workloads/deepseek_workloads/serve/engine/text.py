"""From token ids to text as they come: no half characters, nothing of a stop string. No model, no threads."""

from collections.abc import Callable, Sequence

Decode = Callable[[Sequence[int]], str]
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"  # what decoders write for bytes that are no character (yet)
_CONTEXT = 6  # earlier ids: decoders join some tokens to what stands before them
_WINDOW = 24  # ids that are decoded again with each new one


class Detokenizer:
    """Text comes out once no later token can change it: an unfinished UTF-8 character waits for its rest."""

    def __init__(self, decode: Decode, *, prompt: Sequence[int]) -> None:
        self._decode = decode
        self._window = list(prompt[-_CONTEXT:])
        # What the prompt left unfinished is completed by the first tokens, and belongs to the answer.
        self._shown = len(_whole(decode(self._window)))

    def push(self, token: int) -> str:
        self._window.append(token)
        text = self._decode(self._window)
        whole = _whole(text)
        new, self._shown = whole[self._shown :], max(self._shown, len(whole))
        if whole == text:
            self._shorten(text)
        return new

    def flush(self) -> str:
        """What was waiting for a rest that never came."""
        text = self._decode(self._window)
        new, self._shown = text[self._shown :], len(text)
        return new

    def _shorten(self, text: str) -> None:
        if len(self._window) < _WINDOW:
            return
        tail = self._window[-_CONTEXT:]
        decoded = self._decode(tail)
        if text.endswith(decoded):  # it starts between two characters
            self._window, self._shown = tail, len(decoded)


def _whole(text: str) -> str:
    """Without a last character that may be unfinished. Bytes before it are past saving."""
    return text[:-1] if text.endswith(_REPLACEMENT) else text


class StopStrings:
    """Finds the first of `stops` in text that comes in parts; what may be the start of one is held back."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = [stop for stop in stops if stop]
        self._held = ""

    def push(self, text: str) -> tuple[str, bool]:
        """What may be given out, and whether a stop string was found: it and what follows it are dropped."""
        pending = self._held + text
        found = [at for stop in self._stops if (at := pending.find(stop)) >= 0]
        if found:
            self._held = ""
            return pending[: min(found)], True
        keep = max((_overlap(pending, stop) for stop in self._stops), default=0)
        self._held = pending[len(pending) - keep :]
        return pending[: len(pending) - keep], False

    def flush(self) -> str:
        """What was held back for nothing."""
        held, self._held = self._held, ""
        return held


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that begins `stop` without being all of it."""
    longest = min(len(stop) - 1, len(text))
    return next((size for size in range(longest, 0, -1) if text.endswith(stop[:size])), 0)
