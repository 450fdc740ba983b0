"""The settings of each kind of stage of a DeepSeekDataset's pipeline.

It does not know what a stage does (`workloads data/prepare/stages`). Names and defaults are those of the run
config (`contract/pipeline.py`); a test holds them together. A share is a decimal from "0" to "1".
"""

from typing import Annotated, Final, Literal

from pydantic import Field, StringConstraints

from deepseek_operator.api.schema import (
    ATOMIC_LIST,
    SET_LIST,
    Decimal,
    SpecModel,
    StorageUri,
    exactly_one_of,
    with_rules,
)
from deepseek_workloads.contract.pipeline import PII_KINDS, PiiKind

LanguageCode = Annotated[str, StringConstraints(min_length=2, max_length=3, pattern=r"^[a-z]{2,3}$")]
RegionCode = Annotated[str, StringConstraints(min_length=2, max_length=2, pattern=r"^[A-Z]{2}$")]
FieldName = Annotated[str, StringConstraints(min_length=1, max_length=128)]
MAX_COUNT: Final = 10**9


class RepairEncoding(SpecModel):
    """Mends UTF-8 that was once decoded as something else, and drops lost control characters."""


class NormalizeUnicode(SpecModel):
    """One way to write what can be written in several."""

    form: Literal["nfc", "nfkc"] = Field(default="nfc", description="Unicode normalization form.")


class IdentifyLanguage(SpecModel):
    """Tells the language of records that name none."""

    keep: list[LanguageCode] = Field(
        default_factory=list,
        max_length=64,
        description="ISO 639-1 codes of the languages that stay; empty keeps all.",
        json_schema_extra=SET_LIST,
    )
    min_probability: Decimal = Field(
        default="0.65", description="Below it the language is not known, and with keep the record is dropped."
    )


class FilterLength(SpecModel):
    """Drops what is too short or too long."""

    min_characters: int = Field(default=1, ge=0, le=MAX_COUNT, description="Characters at least.")
    max_characters: int | None = Field(default=None, ge=1, le=MAX_COUNT, description="Characters at most.")
    min_words: int = Field(default=0, ge=0, le=MAX_COUNT, description="Words at least.")
    max_words: int | None = Field(default=None, ge=1, le=MAX_COUNT, description="Words at most.")


class FilterGarbled(SpecModel):
    """Drops what is no text: broken characters, tables of symbols."""

    max_replacement_share: Decimal = Field(
        default="0.001", description="Share of replacement, private-use and unassigned characters."
    )
    max_control_share: Decimal = Field(default="0.001", description="Share of control characters.")
    min_letter_share: Decimal = Field(default="0.5", description="Share of letters, marks and digits.")


class GopherQuality(SpecModel):
    """The quality rules of Gopher (arXiv:2112.11446)."""

    min_words: int = Field(default=50, ge=0, le=MAX_COUNT, description="Words at least.")
    max_words: int = Field(default=100_000, ge=1, le=MAX_COUNT, description="Words at most.")
    min_mean_word_length: Decimal = Field(default="3", description="Mean characters of a word, at least.")
    max_mean_word_length: Decimal = Field(default="10", description="Mean characters of a word, at most.")
    max_symbol_to_word_ratio: Decimal = Field(default="0.1", description="Hashes and ellipses to words.")
    max_bullet_line_share: Decimal = Field(default="0.9", description="Lines that begin with a bullet.")
    max_ellipsis_line_share: Decimal = Field(default="0.3", description="Lines that end with an ellipsis.")
    min_alphabetic_word_share: Decimal = Field(default="0.8", description="Words that hold a letter.")
    min_stop_words: int = Field(default=2, ge=0, le=8, description="English stop words, of English text.")


class C4Quality(SpecModel):
    """The rules of C4 (arXiv:1910.10683): lines are removed, then the record is judged."""

    require_terminal_punctuation: bool = Field(
        default=True, description="Remove lines that end without a punctuation mark."
    )
    min_words_per_line: int = Field(default=3, ge=0, le=MAX_COUNT, description="Remove shorter lines.")
    min_sentences: int = Field(default=5, ge=0, le=MAX_COUNT, description="Sentences at least.")
    drop_curly_brackets: bool = Field(default=True, description="Drop what holds a curly bracket.")
    drop_lorem_ipsum: bool = Field(default=True, description="Drop what holds the placeholder text.")
    remove_boilerplate_lines: bool = Field(
        default=True, description="Remove lines about JavaScript, cookies and terms of use."
    )


class FineWebQuality(SpecModel):
    """The rules that FineWeb added (arXiv:2406.17557)."""

    min_punctuated_line_share: Decimal = Field(
        default="0.12", description="Lines that end with a punctuation mark."
    )
    max_short_line_share: Decimal = Field(default="0.67", description="Short lines.")
    short_line_characters: int = Field(default=30, ge=1, le=MAX_COUNT, description="What is a short line.")
    max_duplicate_line_character_share: Decimal = Field(
        default="0.1", description="Characters in lines that occurred before."
    )


class FilterRepetition(SpecModel):
    """Drops what repeats itself."""

    max_top_ngram_share: Decimal = Field(
        default="0.3", description="Characters in the most frequent n-gram of 2, 3 or 4 words."
    )
    max_duplicate_ngram_share: Decimal = Field(
        default="0.3", description="Characters in n-grams of 5 to 10 words that occurred before."
    )
    max_duplicate_line_share: Decimal = Field(default="0.3", description="Lines that occurred before.")
    max_duplicate_paragraph_share: Decimal = Field(
        default="0.3", description="Paragraphs that occurred before."
    )


class FilterBleu(SpecModel):
    """Drops pairs of texts by the BLEU-4 of the second side against the first."""

    separator: Annotated[str, StringConstraints(min_length=1, max_length=16)] = Field(
        default="\n\n", description="What stands between the two sides, as the source's template writes it."
    )
    min_bleu: Decimal = Field(default="0", description="BLEU-4 at least, from 0 to 1: below, other words.")
    max_bleu: Decimal = Field(default="0.8", description="BLEU-4 at most: above, a copy and no translation.")


class RedactPii(SpecModel):
    """Replaces addresses and numbers that name a person by placeholders such as <EMAIL>."""

    kinds: list[PiiKind] = Field(
        default_factory=lambda: list(PII_KINDS),
        min_length=1,
        max_length=4,
        description="What is looked for.",
        json_schema_extra={**SET_LIST, "default": list(PII_KINDS)},
    )
    phone_regions: list[RegionCode] = Field(
        default_factory=list,
        max_length=16,
        description="ISO 3166-1 codes of countries whose phone numbers are found without country code too.",
        json_schema_extra=SET_LIST,
    )


class Truncate(SpecModel):
    """Cuts what is too long."""

    max_characters: int = Field(ge=1, le=MAX_COUNT, description="Characters of a record at most.")
    policy: Literal["head", "tail", "headAndTail", "split"] = Field(
        default="head", description="What stays; split: all of it, as several records."
    )
    head_share: Decimal = Field(default="0.5", description="Of headAndTail: the head's share.")


class EntityPhrases(SpecModel):
    """Phrases of one type of entity."""

    type: Annotated[
        str, StringConstraints(min_length=1, max_length=32, pattern=r"^[A-Za-z][A-Za-z0-9_]*$")
    ] = Field(description="Type of the entity, for instance ORG.")
    phrases: list[Annotated[str, StringConstraints(min_length=1, max_length=64)]] = Field(
        min_length=1, max_length=256, description="One or more words each.", json_schema_extra=ATOMIC_LIST
    )


class AnnotateEntities(SpecModel):
    """Makes of a record its words, one a line, each with a BIO tag."""

    model_config = with_rules(exactly_one_of("entities", "entitiesUri"))

    entities: list[EntityPhrases] | None = Field(
        default=None,
        min_length=1,
        max_length=16,
        description="What is looked for.",
        json_schema_extra=ATOMIC_LIST,
    )
    entities_uri: StorageUri | None = Field(
        default=None,
        description="Object with more of it, on the sources' service: JSON lines of {type, phrases}; or .gz.",
    )
    case_sensitive: bool = Field(default=True, description="Whether capitals count.")


class ScoreDifficulty(SpecModel):
    """Gives each record a number from 0 to 1, by how rare its words are in all records."""


class FilterTfIdf(SpecModel):
    """Drops noise: what consists of words that every record has, or of words that no other has."""

    min_mean_weight: Decimal = Field(
        default="0.02", description="Mean weight of the words, at least; 0: of words that each record has."
    )
    max_mean_weight: Decimal = Field(
        default="0.95", description="Mean weight of the words, at most; 1: of words that no other record has."
    )


class ExportedModel(SpecModel):
    """An export of a training job."""

    uri: StorageUri = Field(
        description="s3://bucket/prefix/exports/DIGEST, on the sources' service, as a DeepSeekModelRevision "
        "names it."
    )


class FilterPerplexity(SpecModel):
    """Drops what is unlike a reference, by the perplexity of its characters under a model of their n-grams
    that is made of it, or under an exported model."""

    model_config = with_rules(exactly_one_of("uris", "model"))

    uris: list[StorageUri] | None = Field(
        default=None,
        min_length=1,
        max_length=16,
        description="Objects with the reference, on the sources' service: text, or JSON lines (.jsonl); also "
        "compressed (.gz, .zst). 16 Mi characters at most.",
        json_schema_extra=ATOMIC_LIST,
    )
    model: ExportedModel | None = Field(default=None, description="A model in place of a reference.")
    max_perplexity: Decimal = Field(description="Perplexity a character, at most.")
    min_perplexity: Decimal = Field(default="1", description="Perplexity a character, at least.")
    order: int = Field(default=5, ge=1, le=8, description="Characters of the longest n-grams.")
    text_fields: list[FieldName] = Field(
        default_factory=lambda: ["text"],
        min_length=1,
        max_length=8,
        description="Fields of a JSON line that are the reference.",
        json_schema_extra={**ATOMIC_LIST, "default": ["text"]},
    )


class DeduplicateExact(SpecModel):
    """Of records with equal text the first stays."""


class DeduplicateNear(SpecModel):
    """MinHash over all records; of those that are alike, directly or through others, the longest stays."""

    threshold: Decimal = Field(default="0.8", description="Jaccard similarity, from 0.5 to 1.")
    ngram: int = Field(default=5, ge=1, le=32, description="Words that are compared together.")
    permutations: int = Field(default=128, ge=32, le=1024, description="Numbers of a signature.")


class EmbeddingModel(SpecModel):
    """What makes embeddings of texts."""

    uri: StorageUri = Field(
        description="s3://bucket/prefix of an embedding model with model.safetensors, tokenizer.json and "
        "config.json, on the sources' service: a static one as Model2Vec writes it, or a transformer such as "
        "BERT, for which the image must have transformers (the extra encoders)."
    )


class DeduplicateSemantic(SpecModel):
    """Embeddings of all records; of those that mean the same, directly or through others, the longest
    stays."""

    model: EmbeddingModel = Field(description="What makes the embeddings.")
    threshold: Decimal = Field(default="0.95", description="Cosine of two embeddings, from 0.5 to 1.")


class DeduplicateSubstrings(SpecModel):
    """Cuts out passages that occurred before, also where the records around them differ."""

    min_words: int = Field(default=50, ge=8, le=1000, description="Words of a passage, at least.")


class Decontaminate(SpecModel):
    """Drops records that hold an n-gram of an evaluation set."""

    uris: list[StorageUri] = Field(
        min_length=1,
        max_length=16,
        description="Objects with evaluation sets, on the sources' service: text, or JSON lines (.jsonl); "
        "also compressed (.gz, .zst).",
        json_schema_extra=ATOMIC_LIST,
    )
    ngram: int = Field(default=13, ge=2, le=64, description="Words of an n-gram.")
    text_fields: list[FieldName] = Field(
        default_factory=lambda: ["text"],
        min_length=1,
        max_length=8,
        description="Fields of a JSON line that are compared.",
        json_schema_extra={**ATOMIC_LIST, "default": ["text"]},
    )
