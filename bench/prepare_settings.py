"""What both sides of bench-prepare are told. No imports: the peer's environment has nothing of ours."""

from typing import Final

EOS: Final = "<|end_of_text|>"
REPETITION: Final = 0.3  # each of its limits
MIN_WORDS: Final = 50
PUNCTUATED, SHORT, SHORT_CHARACTERS, DUPLICATE_LINES = 0.12, 0.67, 30, 0.1
NGRAM: Final = 5
THRESHOLD: Final = 0.8
PERMUTATIONS: Final = 128
