"""The text of a page of HTML documentation: no markup, no navigation, paragraphs apart, listings kept.

It knows HTML and how documentation marks its navigation, nothing about where pages come from.
"""

import re
from html.parser import HTMLParser

_NOT_TEXT = {"head", "script", "style", "header", "footer", "nav", "aside", "button", "noscript", "svg"}
_NAVIGATION_CLASSES = {"docnav", "headerlink", "navfooter", "navheader", "related", "sphinxsidebar", "toc"}
_NAVIGATION_IDS = {"banner", "title"}
_VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}
_PARAGRAPHS = {
    *("address", "article", "blockquote", "body", "caption", "div", "dl", "dt", "dd", "fieldset", "figure"),
    *("h1", "h2", "h3", "h4", "h5", "h6", "li", "main", "ol", "p", "pre", "section", "table", "tr", "ul"),
}
_CELLS = {"td", "th"}


def page_text(page: str) -> str:
    """The text of one page, paragraphs separated by an empty line. Empty for a page without text."""
    parser = _TextParser()
    parser.feed(page)
    parser.close()
    return parser.text()


class _TextParser(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._paragraphs: list[str] = []
        self._pieces: list[str] = []
        self._listing = 0  # depth of <pre>
        self._skipped = ""  # the element being left out, and how often it is nested in itself
        self._depth = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if self._skipped:
            self._depth += tag == self._skipped
        elif tag not in _VOID and _is_left_out(tag, dict(attrs)):
            self._skipped, self._depth = tag, 1
        elif tag in _PARAGRAPHS:
            self._end_paragraph()
            self._listing += tag == "pre"
        elif tag == "br":
            self._pieces.append("\n" if self._listing else " ")

    def handle_endtag(self, tag: str) -> None:
        if self._skipped:
            self._depth -= tag == self._skipped
            if self._depth == 0:
                self._skipped = ""
        elif tag in _PARAGRAPHS:
            self._end_paragraph()
            self._listing -= tag == "pre" and self._listing > 0
        elif tag in _CELLS:
            self._pieces.append(" ")

    def handle_data(self, data: str) -> None:
        if not self._skipped:
            self._pieces.append(data)

    def text(self) -> str:
        self._end_paragraph()
        return "\n\n".join(self._paragraphs)

    def _end_paragraph(self) -> None:
        joined = "".join(self._pieces)
        self._pieces.clear()
        if self._listing:
            paragraph = "\n".join(line.rstrip() for line in joined.strip("\n").splitlines())
        else:
            paragraph = re.sub(r"\s+", " ", joined)
        if paragraph.strip():
            self._paragraphs.append(paragraph.strip("\n") if self._listing else paragraph.strip())


def _is_left_out(tag: str, attributes: dict[str, str | None]) -> bool:
    classes = set((attributes.get("class") or "").split())
    return tag in _NOT_TEXT or bool(classes & _NAVIGATION_CLASSES) or attributes.get("id") in _NAVIGATION_IDS
