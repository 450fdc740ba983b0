"""The stages of a DeepSeekDataset's pipeline, as they are written in a spec."""

from typing import Final

from pydantic import Field

from deepseek_operator.api.augmentation_settings import BackTranslate, ReorderClauses, ReplaceSynonyms
from deepseek_operator.api.schema import DnsLabel, SpecModel, exactly_one_of, rule, with_rules
from deepseek_operator.api.stage_settings import (
    AnnotateEntities,
    C4Quality,
    Decontaminate,
    DeduplicateExact,
    DeduplicateNear,
    DeduplicateSemantic,
    DeduplicateSubstrings,
    FilterBleu,
    FilterGarbled,
    FilterLength,
    FilterPerplexity,
    FilterRepetition,
    FilterTfIdf,
    FineWebQuality,
    GopherQuality,
    IdentifyLanguage,
    NormalizeUnicode,
    RedactPii,
    RepairEncoding,
    ScoreDifficulty,
    Truncate,
)

_KINDS: Final = (
    "repairEncoding",
    "normalizeUnicode",
    "identifyLanguage",
    "filterLength",
    "filterGarbled",
    "gopherQuality",
    "c4Quality",
    "fineWebQuality",
    "filterRepetition",
    "filterBleu",
    "redactPii",
    "truncate",
    "annotateEntities",
    "replaceSynonyms",
    "reorderClauses",
    "backTranslate",
    "scoreDifficulty",
    "filterTfIdf",
    "filterPerplexity",
    "deduplicateExact",
    "deduplicateNear",
    "deduplicateSemantic",
    "deduplicateSubstrings",
    "decontaminate",
)


class PipelineStage(SpecModel):
    """One stage: its name and exactly one kind, {} for that kind's defaults."""

    model_config = with_rules(
        exactly_one_of(*_KINDS),
        rule(
            "!(self.name in ['read', 'tokenizer', 'tokenize'])",
            "read, tokenizer and tokenize are stages of every dataset: name it differently",
            field_path=".name",
        ),
    )

    name: DnsLabel = Field(description="Name of the stage, as progress and report show it.")
    repair_encoding: RepairEncoding | None = Field(default=None, description="Mend broken UTF-8.")
    normalize_unicode: NormalizeUnicode | None = Field(default=None, description="Normalize Unicode.")
    identify_language: IdentifyLanguage | None = Field(default=None, description="Tell and choose languages.")
    filter_length: FilterLength | None = Field(default=None, description="Drop by length.")
    filter_garbled: FilterGarbled | None = Field(default=None, description="Drop what is no text.")
    gopher_quality: GopherQuality | None = Field(default=None, description="Gopher's quality rules.")
    c4_quality: C4Quality | None = Field(default=None, description="C4's rules.")
    fine_web_quality: FineWebQuality | None = Field(default=None, description="FineWeb's rules.")
    filter_repetition: FilterRepetition | None = Field(default=None, description="Drop repetitive records.")
    filter_bleu: FilterBleu | None = Field(default=None, description="Drop pairs by BLEU-4.")
    redact_pii: RedactPii | None = Field(default=None, description="Replace what names a person.")
    truncate: Truncate | None = Field(default=None, description="Cut what is too long.")
    annotate_entities: AnnotateEntities | None = Field(default=None, description="Tag words (BIO).")
    replace_synonyms: ReplaceSynonyms | None = Field(default=None, description="Add copies with synonyms.")
    reorder_clauses: ReorderClauses | None = Field(
        default=None, description="Add copies with clauses in another order."
    )
    back_translate: BackTranslate | None = Field(
        default=None, description="Add copies that were translated there and back."
    )
    score_difficulty: ScoreDifficulty | None = Field(default=None, description="Score each record.")
    filter_tf_idf: FilterTfIdf | None = Field(default=None, description="Drop noise by TF-IDF.")
    filter_perplexity: FilterPerplexity | None = Field(default=None, description="Drop by perplexity.")
    deduplicate_exact: DeduplicateExact | None = Field(default=None, description="Drop equal records.")
    deduplicate_near: DeduplicateNear | None = Field(default=None, description="Drop near-duplicates.")
    deduplicate_semantic: DeduplicateSemantic | None = Field(
        default=None, description="Drop what means the same."
    )
    deduplicate_substrings: DeduplicateSubstrings | None = Field(
        default=None, description="Cut out repeated passages."
    )
    decontaminate: Decontaminate | None = Field(default=None, description="Drop what evaluations hold.")
