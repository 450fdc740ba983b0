"""A page becomes the text a reader sees of it."""

import html

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepseek_demo.corpus.html_text import page_text


@pytest.mark.parametrize(
    ("page", "text"),
    [
        ("<h1>Title</h1><p>One\n  two <b>three</b>.</p>", "Title\n\nOne two three."),
        ("<p>open<p>paragraphs", "open\n\nparagraphs"),
        ("<pre>def f():\n    return 1  \n</pre>", "def f():\n    return 1"),
        ("<p>a &lt; b &amp; c&#33;</p>", "a < b & c!"),
        ("<p>中文<em>文档</em>。</p>", "中文文档。"),
        ("<table><tr><td>a</td><td>b</td></tr></table>", "a b"),
        ("<p>one<br>two</p>", "one two"),
        ("", ""),
    ],
)
def test_markup_becomes_paragraphs(page: str, text: str) -> None:
    assert page_text(page) == text


@pytest.mark.parametrize(
    "navigation",
    [
        "<head><title>Title</title></head>",
        "<script>var x = '<p>';</script>",
        "<nav><ul><li>Home</li></ul></nav>",
        '<div class="sphinxsidebar"><div><p>Topics</p></div></div>',
        '<ul class="docnav top"><li>Next</li></ul>',
        '<a class="headerlink" href="#x">¶</a>',
        '<p id="title"><a href="index.html">Product Site</a></p>',
    ],
)
def test_navigation_is_left_out_with_all_that_is_in_it(navigation: str) -> None:
    assert page_text(f"<body>{navigation}<p>Text</p></body>") == "Text"


@given(st.lists(st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1), min_size=1))
def test_no_word_of_a_paragraph_is_lost_or_added(paragraphs: list[str]) -> None:
    page = "".join(f"<p>{html.escape(paragraph)}</p>" for paragraph in paragraphs)
    assert page_text(page).split() == " ".join(paragraphs).split()
