import json

from deepseek_demo.corpus.chat import conversations
from deepseek_demo.corpus.sources import Document

ANSWER = "Its answer is a paragraph that is neither too short nor too long, and it ends as sentences do."


def texts(*documents: Document) -> list[str]:
    return [json.loads(line)["text"] for line in conversations(documents).splitlines()]


def test_a_heading_is_asked_about_and_its_paragraph_answers() -> None:
    english = Document("docs/a", f"Title\n\n{ANSWER}\n\nshort\n\nNo.", "en")
    assert texts(english) == [f"user: What do you know about Title?\nassistant: {ANSWER}"]


def test_a_chinese_page_is_asked_in_chinese() -> None:
    (text,) = texts(Document("docs/b", f"标题文字\n\n{ANSWER}", "zh"))
    assert text.startswith("user: 请介绍一下“标题文字”。\nassistant: ")


def test_code_and_sentences_are_no_headings() -> None:
    assert texts(Document("docs/c", f"x = f(1)\n\n{ANSWER}\n\nA sentence.\n\n{ANSWER}", "en")) == []
