"""The stages that a dataset's documents pass between reading and tokenising, and their settings.

Types only: what a stage does is in `data/prepare/stages`. A share is a number from 0 to 1.
"""

from collections.abc import Sequence
from typing import Annotated, Final, Literal, Self

from pydantic import Field, model_validator

from deepseek_workloads.contract.augmentation import BackTranslate, ReorderClauses, ReplaceSynonyms, Share
from deepseek_workloads.contract.setting_rules import check_named_once, check_one_of, check_order
from deepseek_workloads.contract.stage_model import StageModel
from deepseek_workloads.contract.wire import WireModel

PiiKind = Literal["email", "phone", "ipAddress", "idNumber"]
RESERVED_NAMES: Final = ("read", "tokenizer", "tokenize")  # stages of every dataset
PII_KINDS: Final[tuple[PiiKind, ...]] = ("email", "phone", "ipAddress", "idNumber")


class RepairEncoding(WireModel):
    """UTF-8 that was once decoded as something else, lost control characters and line ends."""


class NormalizeUnicode(WireModel):
    form: Literal["nfc", "nfkc"] = "nfc"


class IdentifyLanguage(WireModel):
    """`keep`: ISO 639-1 codes; empty keeps all. A language that the record names already is believed."""

    keep: list[str] = Field(default_factory=list, max_length=64)
    min_probability: Share = 0.65  # below it the language is not known, and `keep` drops the document


class FilterLength(WireModel):
    min_characters: int = Field(default=1, ge=0)
    max_characters: int | None = Field(default=None, ge=1)
    min_words: int = Field(default=0, ge=0)
    max_words: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _some_length_is_left(self) -> Self:
        check_order("minCharacters", self.min_characters, "maxCharacters", self.max_characters)
        check_order("minWords", self.min_words, "maxWords", self.max_words)
        return self


class FilterGarbled(WireModel):
    max_replacement_share: Share = 0.001  # U+FFFD, private-use and unassigned characters
    max_control_share: Share = 0.001
    min_letter_share: Share = 0.5  # letters, marks and digits of the characters that are no white space


class GopherQuality(WireModel):
    """The quality rules of Rae et al. 2021 (arXiv:2112.11446, A1.1)."""

    min_words: int = Field(default=50, ge=0)
    max_words: int = Field(default=100_000, ge=1)
    min_mean_word_length: float = Field(default=3, ge=0)
    max_mean_word_length: float = Field(default=10, ge=0)
    max_symbol_to_word_ratio: float = Field(default=0.1, ge=0)
    max_bullet_line_share: Share = 0.9
    max_ellipsis_line_share: Share = 0.3
    min_alphabetic_word_share: Share = 0.8
    min_stop_words: int = Field(default=2, ge=0)

    @model_validator(mode="after")
    def _some_length_is_left(self) -> Self:
        check_order("minWords", self.min_words, "maxWords", self.max_words)
        check_order(
            "minMeanWordLength", self.min_mean_word_length, "maxMeanWordLength", self.max_mean_word_length
        )
        return self


class C4Quality(WireModel):
    """The rules of Raffel et al. 2020 (arXiv:1910.10683, 2.2): lines go, then the document is judged."""

    require_terminal_punctuation: bool = True
    min_words_per_line: int = Field(default=3, ge=0)
    min_sentences: int = Field(default=5, ge=0)
    drop_curly_brackets: bool = True
    drop_lorem_ipsum: bool = True
    remove_boilerplate_lines: bool = True  # lines about JavaScript, cookies, terms of use


class FineWebQuality(WireModel):
    """The rules that Penedo et al. 2024 added (arXiv:2406.17557, 3.6)."""

    min_punctuated_line_share: Share = 0.12
    max_short_line_share: Share = 0.67
    short_line_characters: int = Field(default=30, ge=1)
    max_duplicate_line_character_share: Share = 0.1


class FilterRepetition(WireModel):
    """How much of a document its own repetitions may be."""

    max_top_ngram_share: Share = 0.3  # characters in the most frequent 2-, 3- or 4-gram of words
    max_duplicate_ngram_share: Share = 0.3  # characters in 5- to 10-grams that occurred before
    max_duplicate_line_share: Share = 0.3
    max_duplicate_paragraph_share: Share = 0.3


class FilterBleu(WireModel):
    """By the BLEU-4 of the second side of a pair against the first."""

    separator: str = Field(default="\n\n", min_length=1, max_length=16)  # between the sides
    min_bleu: Share = 0.0
    max_bleu: Share = 0.8

    @model_validator(mode="after")
    def _some_pairs_are_left(self) -> Self:
        check_order("minBleu", self.min_bleu, "maxBleu", self.max_bleu)
        return self


class RedactPii(WireModel):
    """Each finding becomes a placeholder, for instance <EMAIL>."""

    kinds: list[PiiKind] = Field(default_factory=lambda: list(PII_KINDS), min_length=1, max_length=4)
    phone_regions: list[str] = Field(default_factory=list, max_length=16)  # ISO 3166-1, for national numbers


class Truncate(WireModel):
    max_characters: int = Field(ge=1)
    policy: Literal["head", "tail", "headAndTail", "split"] = "head"
    head_share: Share = 0.5  # of headAndTail


class EntityPhrases(WireModel):
    type: str = Field(max_length=32, pattern=r"^[A-Za-z][A-Za-z0-9_]*$")
    phrases: list[Annotated[str, Field(min_length=1, max_length=64, pattern=r"\S")]] = Field(
        min_length=1, max_length=256
    )


class AnnotateEntities(WireModel):
    """A document becomes its words, one a line, each with its BIO tag."""

    entities: list[EntityPhrases] = Field(default_factory=list, max_length=16)
    entities_uri: str | None = None  # of JSON lines of the same, on the sources' store
    case_sensitive: bool = True

    @model_validator(mode="after")
    def _one_type_a_phrase(self) -> Self:
        check_one_of("entities", bool(self.entities), "entitiesUri", self.entities_uri is not None)
        check_named_once("phrase", [phrase for each in self.entities for phrase in each.phrases])
        return self


class ScoreDifficulty(WireModel):
    """From 0 to 1: how rare the words of a document are, over all documents (Platanios et al. 2019,
    arXiv:1903.09848, 3.1)."""


class FilterTfIdf(WireModel):
    """By the mean weight of a document's words over all documents: from 0, where each word is in every
    document, to 1, where each is in no other."""

    min_mean_weight: Share = 0.02
    max_mean_weight: Share = 0.95

    @model_validator(mode="after")
    def _some_weight_is_left(self) -> Self:
        check_order("minMeanWeight", self.min_mean_weight, "maxMeanWeight", self.max_mean_weight)
        return self


class FilterPerplexity(WireModel):
    """By the perplexity, a character, under a model of n-grams of characters that is made of a reference, or
    under an exported model."""

    uris: list[str] = Field(default_factory=list, max_length=16)  # text or JSON lines, on the sources' store
    model: StageModel | None = None  # an export, in place of a reference
    max_perplexity: float = Field(ge=1)
    min_perplexity: float = Field(default=1, ge=1)
    order: int = Field(default=5, ge=1, le=8)  # characters of the longest n-grams
    text_fields: list[str] = Field(default_factory=lambda: ["text"], min_length=1, max_length=8)

    @model_validator(mode="after")
    def _some_perplexity_is_left(self) -> Self:
        check_one_of("uris", bool(self.uris), "model", self.model is not None)
        check_order("minPerplexity", self.min_perplexity, "maxPerplexity", self.max_perplexity)
        return self


class DeduplicateExact(WireModel):
    """Of documents with equal text the first stays."""


class DeduplicateNear(WireModel):
    """MinHash over n-grams of words; of each connected component the longest document stays."""

    threshold: float = Field(default=0.8, ge=0.5, le=1)  # Jaccard similarity
    ngram: int = Field(default=5, ge=1, le=32)  # words; characters where a script has no spaces
    permutations: int = Field(default=128, ge=32, le=1024)


class DeduplicateSemantic(WireModel):
    """By cosine of embeddings, within clusters; of each connected component the longest document stays."""

    model: StageModel
    threshold: float = Field(default=0.95, ge=0.5, le=1)


class DeduplicateSubstrings(WireModel):
    """Passages that occurred before are cut out, word for word, of documents that may differ else."""

    min_words: int = Field(default=50, ge=8, le=1000)  # of a passage


class Decontaminate(WireModel):
    """Drops documents that hold an n-gram of words of an evaluation set."""

    uris: list[str] = Field(min_length=1, max_length=16)  # of text or JSON lines, on the sources' store
    ngram: int = Field(default=13, ge=2, le=64)
    text_fields: list[str] = Field(default_factory=lambda: ["text"], min_length=1, max_length=8)


RecordSettings = (
    RepairEncoding
    | NormalizeUnicode
    | IdentifyLanguage
    | FilterLength
    | FilterGarbled
    | GopherQuality
    | C4Quality
    | FineWebQuality
    | FilterRepetition
    | FilterBleu
    | RedactPii
    | Truncate
    | AnnotateEntities
    | ReplaceSynonyms
)
# Steps of their own: they look at all documents together, ask somebody, or load a model.
GlobalSettings = (
    ReorderClauses
    | BackTranslate
    | ScoreDifficulty
    | FilterTfIdf
    | FilterPerplexity
    | DeduplicateExact
    | DeduplicateNear
    | DeduplicateSemantic
    | DeduplicateSubstrings
    | Decontaminate
)
StageSettings = RecordSettings | GlobalSettings
Augmentation = BackTranslate | ReorderClauses | ReplaceSynonyms  # what adds copies


class PipelineStage(WireModel):
    """A name and exactly one kind of stage."""

    name: str = Field(min_length=1, max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")
    repair_encoding: RepairEncoding | None = None
    normalize_unicode: NormalizeUnicode | None = None
    identify_language: IdentifyLanguage | None = None
    filter_length: FilterLength | None = None
    filter_garbled: FilterGarbled | None = None
    gopher_quality: GopherQuality | None = None
    c4_quality: C4Quality | None = None
    fine_web_quality: FineWebQuality | None = None
    filter_repetition: FilterRepetition | None = None
    filter_bleu: FilterBleu | None = None
    redact_pii: RedactPii | None = None
    truncate: Truncate | None = None
    annotate_entities: AnnotateEntities | None = None
    replace_synonyms: ReplaceSynonyms | None = None
    reorder_clauses: ReorderClauses | None = None
    back_translate: BackTranslate | None = None
    score_difficulty: ScoreDifficulty | None = None
    filter_tf_idf: FilterTfIdf | None = None
    filter_perplexity: FilterPerplexity | None = None
    deduplicate_exact: DeduplicateExact | None = None
    deduplicate_near: DeduplicateNear | None = None
    deduplicate_semantic: DeduplicateSemantic | None = None
    deduplicate_substrings: DeduplicateSubstrings | None = None
    decontaminate: Decontaminate | None = None

    @property
    def settings(self) -> StageSettings:
        [given] = self._given()
        return given

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if self.name in RESERVED_NAMES:
            raise ValueError(f"stage {self.name!r}: every dataset has one of that name: name it differently")
        if len(self._given()) != 1:
            kinds = ", ".join(KINDS)
            raise ValueError(f"stage {self.name!r}: names {len(self._given())} kinds: give one of {kinds}")
        return self

    def _given(self) -> list[StageSettings]:
        values = (getattr(self, field) for field in _KIND_FIELDS)
        return [value for value in values if value is not None]


_KIND_FIELDS: Final = tuple(name for name in PipelineStage.model_fields if name != "name")
KINDS: Final = tuple(str(PipelineStage.model_fields[name].alias) for name in _KIND_FIELDS)


def is_global(settings: StageSettings) -> bool:
    """Whether the stage is a step of its own."""
    return isinstance(settings, GlobalSettings)


def is_augmentation(settings: StageSettings) -> bool:
    """Whether the stage adds copies."""
    return isinstance(settings, Augmentation)


def makes_copies_early(stages: Sequence[PipelineStage]) -> PipelineStage | None:
    """The first stage that adds copies and has one after it that adds none: that one would not know copies
    from their originals."""
    kinds = [is_augmentation(stage.settings) for stage in stages]
    for at, stage in enumerate(stages):
        if kinds[at] and not all(kinds[at:]):
            return stage
    return None


def web_recipe() -> list[PipelineStage]:
    """The default recipe for text from the web."""
    return [
        PipelineStage(name="repair-encoding", repair_encoding=RepairEncoding()),
        PipelineStage(name="normalize-unicode", normalize_unicode=NormalizeUnicode()),
        PipelineStage(name="identify-language", identify_language=IdentifyLanguage()),
        PipelineStage(name="filter-garbled", filter_garbled=FilterGarbled()),
        PipelineStage(name="gopher-quality", gopher_quality=GopherQuality()),
        PipelineStage(name="filter-repetition", filter_repetition=FilterRepetition()),
        PipelineStage(name="fine-web-quality", fine_web_quality=FineWebQuality()),
        PipelineStage(name="redact-pii", redact_pii=RedactPii()),
        PipelineStage(name="deduplicate-exact", deduplicate_exact=DeduplicateExact()),
        PipelineStage(name="deduplicate-near", deduplicate_near=DeduplicateNear()),
    ]
