import json

import pytest

from deepseek_workloads.contract.records import FileEntry
from deepseek_workloads.contract.run_config import TokenizerTraining
from deepseek_workloads.data.manifest import DatasetError
from deepseek_workloads.data.prepare import encoding
from deepseek_workloads.data.prepare.encoding import cut, encode_documents
from deepseek_workloads.data.prepare.records import ReadRecord
from deepseek_workloads.data.prepare.tokenizer import (
    check_training,
    load_tokenizer,
    special_tokens,
    to_document,
    train_tokenizer,
    vocab_size,
)
from deepseek_workloads.data.prepare.tokenizer_stage import plan_sampling

LINE = "The model learned {n} of 2026 words; 模型学会了{n}个词。\n\tif x > {n}: return naïve\n"
TEXTS = [LINE.format(n=n) for n in range(99)]


def _train(texts=TEXTS, *, size=400, **settings) -> bytes:
    training = TokenizerTraining(vocab_size=size, **settings)
    return to_document(train_tokenizer(iter(texts), settings=training, normalization="nfc"))


@pytest.fixture(scope="module")
def document() -> bytes:
    return _train()


def test_training_is_deterministic_in_any_order_of_the_texts(document) -> None:
    assert _train(TEXTS[::-1]) == document


def test_every_text_comes_back(document) -> None:
    tokenizer = load_tokenizer(document, name="t")
    for text in [*TEXTS, "emoji 🤖\x00\x7f", "  spaces \r\n\r\n", "ไม่เคยเห็น"]:
        assert tokenizer.decode(tokenizer.encode(text).ids, skip_special_tokens=False) == text


@pytest.fixture(scope="module")
def word_pieces() -> bytes:
    return _train(kind="wordPiece")


def test_word_pieces_are_the_same_in_any_order_of_the_texts(word_pieces) -> None:
    assert _train(TEXTS[::-1], kind="wordPiece") == word_pieces


def test_rare_characters_are_left_out_together() -> None:
    """Of 60 Chinese characters, each once, none has a place in a vocabulary of 257."""
    rare = "".join(chr(0x5000 + number) for number in range(60))
    tokenizer = load_tokenizer(_train([*TEXTS, rare], size=257, kind="wordPiece"), name="t")
    assert set(tokenizer.encode(rare).tokens) == {"[UNK]"}
    assert "[UNK]" not in tokenizer.encode("The model learned").tokens


def test_word_pieces_give_words_back_with_one_space_between(word_pieces) -> None:
    tokenizer = load_tokenizer(word_pieces, name="t")
    ids = tokenizer.encode("The  model\nlearned 42 words; 模型").ids
    assert tokenizer.decode(ids) == "The model learned 42 words ; 模 型"
    assert "##" in "".join(tokenizer.encode("modelled").tokens)
    assert tokenizer.encode("ไม่").tokens == ["[UNK]"]


def test_word_pieces_know_their_special_tokens_and_do_not_read_them_from_documents(word_pieces) -> None:
    tokenizer = load_tokenizer(word_pieces, name="t")
    special = special_tokens(tokenizer, name="t")
    assert (special.bos, special.eos) == (0, 1)
    [ids] = encode_documents(tokenizer, ["how to write <|end_of_text|> here"], eos_token_id=1)
    assert ids.tolist().count(1) == 1


def test_the_vocabulary_is_as_asked_and_knows_its_special_tokens(document) -> None:
    tokenizer = load_tokenizer(document, name="t")
    special = special_tokens(tokenizer, name="t")
    assert vocab_size(tokenizer) == 400
    assert (special.bos, special.eos, special.pad) == (0, 1, None)


def test_a_special_token_written_in_a_document_is_only_text(document) -> None:
    tokenizer = load_tokenizer(document, name="t")
    text = "how to write <|end_of_text|> in a document"
    [ids] = encode_documents(tokenizer, [text], eos_token_id=1)
    assert ids.tolist().count(1) == 1
    assert tokenizer.decode(ids[:-1].tolist(), skip_special_tokens=False) == text


def test_digits_and_chinese_are_cut_from_words(document) -> None:
    tokenizer = load_tokenizer(document, name="t")
    pieces = [piece for piece, _ in tokenizer.pre_tokenizer.pre_tokenize_str("ab12345模型cd")]
    assert [len(piece) for piece in pieces] == [2, 3, 2, 6, 2]


def test_batches_give_the_ids_of_one_at_a_time(document, monkeypatch) -> None:
    tokenizer = load_tokenizer(document, name="t")
    monkeypatch.setattr(encoding, "BATCH_CHARACTERS", 100)
    batched = [ids.tolist() for ids in encode_documents(tokenizer, TEXTS, eos_token_id=1)]
    assert batched == [[*tokenizer.encode(text, add_special_tokens=False).ids, 1] for text in TEXTS]


def test_a_long_document_is_encoded_in_pieces_with_the_same_ids(document, monkeypatch) -> None:
    tokenizer = load_tokenizer(document, name="t")
    text = "".join(TEXTS)
    monkeypatch.setattr(encoding, "PIECE_CHARACTERS", 200)
    assert "".join(cut(text)) == text
    assert len(cut(text)) > 20
    [ids] = encode_documents(tokenizer, [text], eos_token_id=1)
    assert ids.tolist() == [*tokenizer.encode(text, add_special_tokens=False).ids, 1]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"vocab_size": 257}, "vocabSize: 257.*use 258 or more"),
        ({"vocab_size": 300, "special_tokens": ["<|x|>"]}, "specialTokens.*add one of"),
    ],
)
def test_settings_that_cannot_work_are_refused(settings, message) -> None:
    with pytest.raises(DatasetError, match=message):
        check_training(TokenizerTraining(**settings))


@pytest.mark.parametrize("parts", [1, 3, 40, 1000])
def test_a_tokenizer_is_trained_on_a_bounded_and_spread_sample(parts) -> None:
    file = FileEntry(key="k", size=0, checksum="c")
    files = {"texts": file, "index": file, "hashes": file, "bucket_starts": []}
    size = 32 * 1024 * 1024
    records = [ReadRecord(number=n, documents=9, text_bytes=size, **files) for n in range(parts)]
    sampling = plan_sampling(records, vocab_size=16384)  # which is worth 64 MiB
    assert len(sampling.parts) * size * sampling.fraction == pytest.approx(min(parts, 2) * size)
    assert len(sampling.parts) <= 16
    assert sampling.parts[-1] >= parts * 0.85 - 1


def test_what_is_no_tokenizer_is_refused() -> None:
    with pytest.raises(DatasetError, match=r"given\.json: no tokenizer\.json"):
        load_tokenizer(b"{}", name="given.json")


def test_a_tokenizer_that_cannot_end_a_document_is_refused(document) -> None:
    content = json.loads(document)
    content["added_tokens"] = []
    tokenizer = load_tokenizer(json.dumps(content).encode(), name="given.json")
    with pytest.raises(DatasetError, match=r"given\.json: no special token ends a document"):
        special_tokens(tokenizer, name="given.json")
