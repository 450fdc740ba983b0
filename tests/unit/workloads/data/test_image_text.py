"""Words and images of a record become one line of tokens in which an image has as many as patches."""

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from deepseek_workloads.data.chat import ConversationEncoder, ConversationRefused
from deepseek_workloads.data.chat_template import CONVERSATION_TEMPLATE, ChatTemplate
from deepseek_workloads.data.image_text import ImageText, ImageTextEncoder, read_image_text

TOKEN, EOS, PATCHES = "<image>", "<end>", 3
WORDS = ["user", ":", "assistant", "red", "blue", "a", "?", "and"]


@pytest.fixture
def tokenizer() -> Tokenizer:
    vocabulary = {word: number for number, word in enumerate(["unknown", *WORDS])}
    made = Tokenizer(models.WordLevel(vocabulary, "unknown"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.add_special_tokens([EOS, TOKEN])
    return made


@pytest.fixture
def encoder(tokenizer: Tokenizer) -> ImageTextEncoder:
    eos = tokenizer.token_to_id(EOS)
    template = ChatTemplate(CONVERSATION_TEMPLATE, special_tokens={"eos_token": EOS})
    conversations = ConversationEncoder(tokenizer, template, eos_token_id=eos, allowed=[TOKEN])
    return ImageTextEncoder(tokenizer, conversations, eos_token_id=eos, image_token=TOKEN, patches=PATCHES)


def read(**record: object) -> ImageText:
    return read_image_text(record, text_field="text", image_token=TOKEN)


def chat(question: str, answer: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def test_a_placeholder_becomes_a_token_a_patch_and_words_are_predicted(
    encoder: ImageTextEncoder, tokenizer: Tokenizer
) -> None:
    found = encoder.encode(read(text=f"a {TOKEN} red {TOKEN}{TOKEN} and", images=["1.png", "2.png", "3.png"]))

    image, ids = tokenizer.token_to_id(TOKEN), found.conversation.ids
    assert found.places.tolist() == [1, 5, 8]
    assert (ids == image).sum() == 3 * PATCHES
    assert np.array_equal(found.conversation.predicted, ids != image)
    assert ids[-1] == tokenizer.token_to_id(EOS)
    assert found.conversation.text_bytes == len("a  red  and")


def test_of_a_conversation_answers_are_predicted(encoder: ImageTextEncoder, tokenizer: Tokenizer) -> None:
    found = encoder.encode(read(messages=chat(f"{TOKEN} ?", "red"), images=["1.png"]))

    said = [tokenizer.id_to_token(number) for number in found.conversation.ids[found.conversation.predicted]]
    assert said == ["red", EOS]
    assert (found.conversation.ids[found.places[0] :][:PATCHES] == tokenizer.token_to_id(TOKEN)).all()


def test_images_without_placeholders_come_before_what_the_user_says(encoder: ImageTextEncoder) -> None:
    messages = [{"role": "system", "content": "a"}, *chat("?", "red")]
    found = read(messages=messages, images=["1.png", "2.png"])

    assert [message["content"] for message in found.messages] == ["a", f"{TOKEN}{TOKEN}\n?", "red"]
    assert len(encoder.encode(found).places) == 2


def test_a_document_is_read_as_it_was_written() -> None:
    for document in (read(text="a", images=["b/1.png"]), read(messages=chat("?", "red"))):
        assert ImageText.from_document(document.to_document()) == document


@pytest.mark.parametrize(
    ("record", "words"),
    [
        ({"text": f"{TOKEN} {TOKEN}", "images": ["1.png"]}, "2 placeholders '<image>' for 1 images"),
        ({"text": TOKEN}, "1 placeholders '<image>' for 0 images"),
        ({"text": "a", "images": "1.png"}, "must be a list of keys"),
        ({"text": "a", "images": ["../1.png"]}, "images[0]"),
        ({"text": "a", "images": ["/etc/passwd"]}, "images[0]"),
        ({"images": ["1.png"]}, "needs 'messages', or a string in field 'text'"),
        ({"messages": [{"role": "user", "content": "?"}]}, "there is nothing to learn"),
    ],
)
def test_what_is_no_such_record_is_refused(record: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError) as refusal:
        read(**record)

    assert words in str(refusal.value)


def test_another_special_token_in_a_text_is_refused(encoder: ImageTextEncoder) -> None:
    with pytest.raises(ConversationRefused, match="holds the special token"):
        encoder.encode(read(text=f"a {EOS} red"))


def test_a_template_that_leaves_images_out_is_refused(tokenizer: Tokenizer) -> None:
    eos = tokenizer.token_to_id(EOS)
    template = ChatTemplate(
        "{% for m in messages %}{% if m.role == 'assistant' %}{{ m.content }}{% endif %}{% endfor %}",
        special_tokens={},
    )
    conversations = ConversationEncoder(tokenizer, template, eos_token_id=eos, allowed=[TOKEN])
    encoder = ImageTextEncoder(tokenizer, conversations, eos_token_id=eos, image_token=TOKEN, patches=PATCHES)

    with pytest.raises(ConversationRefused, match="1 images need 3 tokens '<image>', its text has 0"):
        encoder.encode(read(messages=chat(f"{TOKEN} ?", "red"), images=["1.png"]))
