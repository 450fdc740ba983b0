"""Byte-level BPE or WordPiece with the `tokenizers` library: trained here, or taken and checked. No I/O."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from deepseek_workloads.contract import reasons
from deepseek_workloads.contract.run_config import TokenizerTraining
from deepseek_workloads.data.manifest import DatasetError
from deepseek_workloads.data.prepare.documents import Normalization
from deepseek_workloads.data.prepare.word_piece import train_word_piece

# How DeepSeek-V3's published tokenizer.json cuts text before merging: runs of up to three digits, runs of
# Chinese and Japanese, then words with what precedes them, punctuation, line ends and spaces.
_DIGITS = r"\p{N}{1,3}"
_CJK = r"[一-龥぀-ゟ゠-ヿ]+"
_WORDS = (
    r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"""
    r"""| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"""
)
_BYTES = 256
_BOS = ("<|begin_of_text|>", "<｜begin▁of▁sentence｜>", "<|bos|>", "<bos>", "<s>", "[BOS]")
_EOS = ("<|end_of_text|>", "<|endoftext|>", "<｜end▁of▁sentence｜>", "<|eos|>", "<eos>", "</s>", "[EOS]")
_PAD = ("<|pad|>", "<｜▁pad▁｜>", "<pad>", "[PAD]")


@dataclass(frozen=True)
class SpecialTokens:
    bos: int | None
    eos: int
    pad: int | None


def check_training(settings: TokenizerTraining) -> None:
    """Raises DatasetError for a vocabulary without room for every byte, or without an end of text."""
    smallest = _BYTES + len(settings.special_tokens)  # of WordPiece, which needs less, too
    if settings.vocab_size < smallest:
        raise DatasetError(
            f"spec.tokenizer.vocabSize: {settings.vocab_size}: every byte and special token needs an entry: "
            f"use {smallest} or more",
            reasons.INVALID_RUN_CONFIG,
        )
    if not set(_EOS) & set(settings.special_tokens):
        raise DatasetError(
            f"spec.tokenizer.specialTokens: {settings.special_tokens}: documents end with a token of "
            f"their own: add one of {', '.join(_EOS)}",
            reasons.INVALID_RUN_CONFIG,
        )


def train_tokenizer(
    texts: Iterator[str], *, settings: TokenizerTraining, normalization: Normalization
) -> Tokenizer:
    """The same texts give the same tokenizer, in any order of theirs. Its vocabulary may be smaller than
    asked where the texts hold no more pairs."""
    train = train_word_piece if settings.kind == "wordPiece" else _train_byte_level_bpe
    form = None
    if normalization != "none":
        form = normalizers.NFC() if normalization == "nfc" else normalizers.NFKC()
    return train(texts, settings, form)


def _train_byte_level_bpe(
    texts: Iterator[str], settings: TokenizerTraining, form: normalizers.Normalizer | None
) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    if form is not None:
        tokenizer.normalizer = form
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            *(pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in (_DIGITS, _CJK, _WORDS)),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=settings.vocab_size,
        min_frequency=2,
        special_tokens=settings.special_tokens,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def load_tokenizer(document: bytes, *, name: str) -> Tokenizer:
    """From tokenizer.json. Raises DatasetError. Text is only text: what looks like a special token in a
    document is encoded as its characters."""
    try:
        tokenizer = Tokenizer.from_buffer(document)
    except Exception as error:  # the library raises nothing narrower
        raise DatasetError(
            f"{name}: no tokenizer.json that the tokenizers library reads: {error}",
            reasons.INVALID_RUN_CONFIG,
        ) from error
    tokenizer.no_padding()
    tokenizer.no_truncation()
    tokenizer.encode_special_tokens = True
    return tokenizer


def vocab_size(tokenizer: Tokenizer) -> int:
    """One more than the largest id: what an embedding needs."""
    return max(tokenizer.get_vocab(with_added_tokens=True).values()) + 1


def special_tokens(tokenizer: Tokenizer, *, name: str) -> SpecialTokens:
    """By the names that are usual for them. Raises DatasetError when none ends a text."""
    eos = _first_id(tokenizer, _EOS)
    if eos is None:
        raise DatasetError(
            f"{name}: no special token ends a document: add one of {', '.join(_EOS)}",
            reasons.INVALID_RUN_CONFIG,
        )
    return SpecialTokens(bos=_first_id(tokenizer, _BOS), eos=eos, pad=_first_id(tokenizer, _PAD))


def image_token_id(tokenizer: Tokenizer, token: str, *, name: str) -> int:
    """Raises DatasetError where `token` is no special token of the tokenizer."""
    found = _first_id(tokenizer, [token])
    if found is None:
        raise DatasetError(
            f"spec.images.imageToken: {token!r}: is no special token of {name}: name one, or train a "
            "tokenizer that has it (spec.tokenizer.train.specialTokens of a dataset of text)",
            reasons.INVALID_RUN_CONFIG,
        )
    return found


def to_document(tokenizer: Tokenizer) -> bytes:
    """tokenizer.json, with the vocabulary in the order of ids."""
    content = json.loads(tokenizer.to_str())
    return json.dumps(content, ensure_ascii=False, indent=1).encode()


def _first_id(tokenizer: Tokenizer, names: Sequence[str]) -> int | None:
    special = {token.content for token in tokenizer.get_added_tokens_decoder().values() if token.special}
    return next((tokenizer.token_to_id(name) for name in names if name in special), None)
