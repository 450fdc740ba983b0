"""The text of an HTML page: what its body says, a line a block, without navigation and scripts. Pure."""

import codecs
import re
from typing import Final

from selectolax.lexbor import LexborHTMLParser, LexborNode

from deepseek_workloads.data.prepare.documents import Document

_CHARSET: Final = re.compile(
    rb"""<meta[^>]{0,200}?charset\s*=\s*["']?\s*([A-Za-z0-9_:.-]{1,40})""", re.IGNORECASE
)
_PRESCAN_BYTES: Final = 1024  # as the HTML standard does
_LEFT_OUT: Final = {
    *("script", "style", "noscript", "template", "svg", "math", "iframe", "object", "canvas"),
    *("form", "button", "select", "nav", "header", "footer", "aside"),
}
_INLINE: Final = {
    *("a", "abbr", "acronym", "b", "bdi", "bdo", "big", "cite", "code", "data", "del", "dfn", "em", "font"),
    *("i", "ins", "kbd", "label", "mark", "q", "rp", "rt", "ruby", "s", "samp", "small", "span", "strike"),
    *("strong", "sub", "sup", "time", "tt", "u", "var", "wbr"),
}
_SPACES: Final = re.compile(r"\s+")
_LINE_ENDS: Final = re.compile(r"[^\S\n]*\n(?:[^\S\n]*\n)*")
_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def decode_page(content: bytes) -> str:
    """By its byte order mark, else by the charset that it names, else UTF-8. Raises ValueError."""
    for mark, encoding in _MARKS:
        if content.startswith(mark):
            return content.decode(encoding)
    named = _CHARSET.search(content[:_PRESCAN_BYTES])
    encoding = named[1].decode() if named else "utf-8"
    try:
        return content.decode(_web_name(encoding))
    except LookupError:
        raise ValueError(f"charset {encoding!r} is not known") from None


def read_page(page: str) -> Document:
    """Its text, of no language: <html lang> comes with the template of a site and is often wrong."""
    body = LexborHTMLParser(page).body
    return Document("" if body is None else _text_of(body))


def _text_of(body: LexborNode) -> str:
    """In the order of the page, with a line end around each block; <pre> keeps its own. Pages may be nested
    deeper than Python's stack."""
    text = _Text()
    waiting: list[LexborNode | None] = _children(body)
    blocks: list[bool] = []  # that are open: whether each is <pre>
    while waiting:
        node = waiting.pop()
        if node is None:
            blocks.pop()
            text.end_line()
        elif node.tag == "-text":
            text.add(node.text_content or "", verbatim=any(blocks))
        elif node.tag == "br":
            text.end_line()
        elif node.tag is None or node.tag[0] in "-!" or _is_left_out(node):
            continue
        elif node.tag in _INLINE:
            waiting += _children(node)
        else:
            text.end_line()
            blocks.append(node.tag == "pre")
            waiting += [None, *_children(node)]
    return text.whole()


def _is_left_out(node: LexborNode) -> bool:
    if node.tag in _LEFT_OUT:
        return True
    attributes = node.attributes
    return "hidden" in attributes or attributes.get("aria-hidden") == "true"


def _children(node: LexborNode) -> list[LexborNode | None]:
    """The first one last, as they are taken from the end of a list."""
    children: list[LexborNode | None] = list(node.iter(include_text=True))
    return children[::-1]


class _Text:
    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._line_begins = True

    def end_line(self) -> None:
        self._pieces.append("\n")
        self._line_begins = True

    def add(self, text: str, *, verbatim: bool) -> None:
        if not verbatim:
            text = _SPACES.sub(" ", text)
            text = text.lstrip() if self._line_begins else text
        if text:
            self._pieces.append(text)
            self._line_begins = text[-1] in " \n"

    def whole(self) -> str:
        return _LINE_ENDS.sub("\n", "".join(self._pieces)).strip("\n").rstrip()


def _web_name(label: str) -> str:
    """On the web Latin-1 and ASCII are Windows-1252."""
    return "cp1252" if label.lower() in ("iso-8859-1", "latin1", "latin-1", "us-ascii", "ascii") else label
