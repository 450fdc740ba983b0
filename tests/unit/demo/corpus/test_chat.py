import json

from deepseek_demo.corpus.chat import conversations
from deepseek_demo.corpus.sources import Document

ANSWER = "Its answer is a paragraph that is neither too short nor too long, and it ends as sentences do."


def said(*documents: Document) -> list[list[str]]:
    """Of each conversation what the user and the assistant say, in turn."""
    records = [json.loads(line) for line in conversations(documents).splitlines()]
    assert all([m["role"] for m in record["messages"]] == ["user", "assistant"] for record in records)
    return [[message["content"] for message in record["messages"]] for record in records]


def test_a_heading_is_asked_about_and_its_paragraph_answers() -> None:
    english = Document("docs/a", f"Title\n\n{ANSWER}\n\nshort\n\nNo.", "en")
    assert said(english) == [["What do you know about Title?", ANSWER]]


def test_a_chinese_page_is_asked_in_chinese() -> None:
    assert said(Document("docs/b", f"标题文字\n\n{ANSWER}", "zh")) == [["请介绍一下“标题文字”。", ANSWER]]


def test_code_and_sentences_are_no_headings() -> None:
    assert said(Document("docs/c", f"x = f(1)\n\n{ANSWER}\n\nA sentence.\n\n{ANSWER}", "en")) == []
