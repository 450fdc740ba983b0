"""WordPiece with the `tokenizers` library, made so that the same texts give the same vocabulary. No I/O.

The library numbers the pieces that continue a word as it meets them, in an order of chance, and ties between
merges are decided by these numbers. Pieces that are there before, as special tokens are, have numbers of
their own.
"""

from collections import Counter
from collections.abc import Iterable, Iterator

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from deepseek_workloads.contract.run_config import TokenizerTraining

UNKNOWN = "[UNK]"
_CONTINUES = "##"
_ALPHABET_SHARE = 4  # of the vocabulary a fourth at most are characters, and another as they continue a word


def train_word_piece(
    texts: Iterator[str], settings: TokenizerTraining, form: normalizers.Normalizer | None
) -> Tokenizer:
    """As BERT's with case: words and punctuation apart, each Chinese character a word (Schuster and Nakajima
    2012). A piece that continues a word begins with ##. The texts are held in memory."""
    kept = list(texts)
    split = normalizers.BertNormalizer(lowercase=False, strip_accents=False)
    normalizer = normalizers.Sequence([form, split]) if form is not None else split
    alphabet = _alphabet(
        (normalizer.normalize_str(text) for text in kept), most=settings.vocab_size // _ALPHABET_SHARE
    )
    special = settings.special_tokens
    special = special if UNKNOWN in special else [*special, UNKNOWN]
    numbered = [*special, *alphabet, *(f"{_CONTINUES}{character}" for character in alphabet)]
    trainer = trainers.WordPieceTrainer(
        vocab_size=settings.vocab_size,
        min_frequency=2,
        special_tokens=list(dict.fromkeys(numbered)),
        limit_alphabet=len(alphabet),
        show_progress=False,
    )
    trained = _tokenizer(models.WordPiece(unk_token=UNKNOWN), normalizer)
    trained.train_from_iterator(kept, trainer)
    result = _tokenizer(models.WordPiece(trained.get_vocab(), unk_token=UNKNOWN), normalizer)
    result.add_special_tokens(special)
    return result


def _tokenizer(model: models.WordPiece, normalizer: normalizers.Normalizer) -> Tokenizer:
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(prefix=_CONTINUES)
    return tokenizer


def _alphabet(texts: Iterable[str], *, most: int) -> list[str]:
    """The most frequent characters, in their order. Of those of equal frequency all or none: which of them
    the library would take is chance."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(text)
    by_count = Counter(count for character, count in counts.items() if not character.isspace())
    least = taken = 0
    for count, characters in sorted(by_count.items(), reverse=True):
        taken += characters
        if taken > most:
            least = count + 1
            break
    return sorted(
        character for character, count in counts.items() if count >= least and not character.isspace()
    )
