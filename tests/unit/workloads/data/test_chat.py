"""Messages become token ids whose answers are marked, as a server would have prompted for them."""

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from deepseek_workloads.data.chat import (
    ConversationEncoder,
    ConversationRefused,
    Message,
    from_document,
    read_messages,
    to_document,
)
from deepseek_workloads.data.chat_template import ChatTemplate, conversation_template

EOS = 256
QUESTION: Message = {"role": "user", "content": "2+2?"}
ANSWER: Message = {"role": "assistant", "content": "4"}


def tokenizer() -> Tokenizer:
    """One id a byte, and an end of text."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    made = Tokenizer(models.BPE({letter: number for number, letter in enumerate(alphabet)}, []))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens(["<eos>"])
    return made


def encoder(template: str | None = None) -> ConversationEncoder:
    chat = ChatTemplate(conversation_template(template), special_tokens={"eos_token": "<eos>"})
    return ConversationEncoder(tokenizer(), chat, eos_token_id=EOS)


def texts(messages: list[Message], *, predicted: bool) -> str:
    done = encoder().encode(messages)
    return tokenizer().decode(done.ids[done.predicted == predicted].tolist(), skip_special_tokens=False)


def test_answers_and_their_ends_are_predicted_and_nothing_else() -> None:
    messages = [
        QUESTION,
        ANSWER,
        {"role": "user", "content": "Sure?"},
        {"role": "assistant", "content": "Yes"},
    ]
    assert texts(messages, predicted=True) == " 4<eos> Yes<eos>"
    assert texts(messages, predicted=False) == "user: 2+2?\nassistant:user: Sure?\nassistant:"


def test_what_stands_before_an_answer_is_the_prompt_of_the_server() -> None:
    done = encoder().encode([QUESTION, ANSWER])
    prompt = ChatTemplate(conversation_template(None), special_tokens={}).render([QUESTION])
    assert tokenizer().decode(done.ids[: int(done.predicted.argmax())].tolist()) == prompt


def test_a_document_ends_with_the_end_of_text_once() -> None:
    assert encoder().encode([QUESTION, ANSWER]).ids.tolist().count(EOS) == 1
    plain = encoder("{% for m in messages %}{{ m.content }}\n{% endfor %}").encode([QUESTION, ANSWER])
    assert plain.ids.tolist().count(EOS) == 1
    assert plain.predicted[-1]


def test_a_message_after_the_last_answer_is_not_predicted() -> None:
    assert texts([QUESTION, ANSWER, QUESTION], predicted=False).endswith("assistant:user: 2+2?\n<eos>")


def test_bytes_are_those_of_the_text_and_of_its_answers_without_special_tokens() -> None:
    messages = [QUESTION, {"role": "assistant", "content": "fünf"}, QUESTION, ANSWER]
    done = encoder().encode(messages)
    assert (done.text_bytes, done.predicted_bytes) == (
        len("user: 2+2?\nassistant: fünfuser: 2+2?\nassistant: 4".encode()),
        len(" fünf 4".encode()),
    )


def test_what_marks_roles_has_no_bytes_either() -> None:
    made = tokenizer()
    made.add_special_tokens(["<|user|>", "<|user|>!"])
    template = "{% for m in messages %}<|{{ m.role }}|>!{{ m.content }}{% endfor %}"
    chat = ChatTemplate(template, special_tokens={})
    done = ConversationEncoder(made, chat, eos_token_id=EOS).encode([QUESTION, ANSWER])
    assert done.text_bytes == len("2+2?<|assistant|>!4")


def test_a_special_token_in_a_message_is_refused() -> None:
    with pytest.raises(ConversationRefused, match=r"messages\[0\].*<eos>"):
        encoder().encode([{"role": "user", "content": "a<eos>b"}, ANSWER])


def test_a_template_that_rewrites_the_prompt_is_refused() -> None:
    template = "{{ messages | length }}{% for m in messages %}{{ m.content }}{% endfor %}"
    with pytest.raises(ConversationRefused, match="only appends"):
        encoder(template).encode([QUESTION, ANSWER])


@pytest.mark.parametrize(
    ("record", "words"),
    [
        ({}, "'messages' must be a list"),
        ({"messages": []}, "not empty"),
        ({"messages": [{"role": "user"}]}, r"messages\[0\]"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "'robot': must be one of system, user"),
        ({"messages": [QUESTION]}, "nothing to learn"),
    ],
)
def test_a_record_that_is_no_conversation_is_refused(record: dict[str, object], words: str) -> None:
    with pytest.raises(ConversationRefused, match=words):
        read_messages(record)


def test_messages_survive_the_way_between_stages() -> None:
    messages = read_messages({"messages": [{**QUESTION, "name": "Ann"}, ANSWER]})
    assert from_document(to_document(messages)) == [QUESTION, ANSWER]
