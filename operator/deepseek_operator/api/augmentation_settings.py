"""The settings of the stages that add copies of records. The shards mark them.

Names and defaults are those of the run config (`contract/augmentation.py`); a test holds them together.
"""

from typing import Annotated

from pydantic import Field, StringConstraints

from deepseek_operator.api.schema import (
    ATOMIC_LIST,
    SET_LIST,
    Decimal,
    EndpointUrl,
    SpecModel,
    StorageUri,
    exactly_one_of,
    with_rules,
)
from deepseek_operator.api.stage_settings import MAX_COUNT, LanguageCode
from deepseek_operator.api.storage import LocalReference

LexiconWord = Annotated[str, StringConstraints(min_length=1, max_length=64)]
LanguageName = Annotated[str, StringConstraints(min_length=1, max_length=64)]
ServedModelName = Annotated[str, StringConstraints(min_length=1, max_length=256)]


class Synonyms(SpecModel):
    """A word and what may stand in its place."""

    word: LexiconWord = Field(description="One word, found whatever its capitals are.")
    synonyms: list[LexiconWord] = Field(
        min_length=1, max_length=8, description="Of which one is chosen.", json_schema_extra=ATOMIC_LIST
    )


class ReplaceSynonyms(SpecModel):
    """Adds copies in which words are replaced. Only stages that add copies may follow."""

    model_config = with_rules(exactly_one_of("lexicon", "lexiconUri"))

    lexicon: list[Synonyms] | None = Field(
        default=None,
        min_length=1,
        max_length=1024,
        description="Words and their synonyms.",
        json_schema_extra=ATOMIC_LIST,
    )
    lexicon_uri: StorageUri | None = Field(
        default=None,
        description="Object with more of them, on the sources' service: JSON lines of {word, synonyms}; also "
        "compressed (.gz, .zst). 64 MiB at most.",
    )
    rate: Decimal = Field(default="0.1", description="Share of the lexicon's words that is replaced.")
    copies: int = Field(default=1, ge=1, le=8, description="Copies of each record.")
    seed: int = Field(default=0, ge=0, le=MAX_COUNT, description="Of the choice of words.")


class ParserModel(SpecModel):
    """A dependency parser."""

    uri: StorageUri = Field(
        description="s3://bucket/.../model.udpipe: a UDPipe 1 model with tokenizer, tagger and parser, on "
        "the sources' service. The image must have UDPipe (the extra parser)."
    )


class ReorderClauses(SpecModel):
    """Adds copies in which adverbial clauses change places, by a dependency parse. Only stages that add
    copies may follow."""

    model: ParserModel = Field(description="What parses the sentences.")
    languages: list[LanguageCode] = Field(
        default_factory=list,
        max_length=16,
        description="ISO 639-1 codes of the languages that the model is for: records of others get no copy; "
        "empty is all.",
        json_schema_extra=SET_LIST,
    )
    rate: Decimal = Field(default="0.5", description="Share of the sentences with such a clause.")
    copies: int = Field(default=1, ge=1, le=8, description="Copies of each record.")
    seed: int = Field(default=0, ge=0, le=MAX_COUNT, description="Of the choice of sentences.")


class BackTranslate(SpecModel):
    """Adds a copy of each record that a served model has translated into another language and back. Only
    stages that add copies may follow."""

    base_url: EndpointUrl = Field(
        description="URL of an OpenAI-compatible API, with its /v1; of the DeepSeekModelService chat of the "
        "namespace research: http://chat.research.svc:8000/v1."
    )
    secret_ref: LocalReference | None = Field(
        default=None,
        description="Secret with the key OPENAI_API_KEY, which is sent as bearer token; absent is a service "
        "that asks nobody.",
    )
    model: ServedModelName = Field(description="Model that translates into pivotLanguage.")
    back_model: ServedModelName | None = Field(
        default=None, description="Model that translates back; absent is the same."
    )
    language: LanguageName = Field(
        default="English", description="Language of the records, as prompt says it."
    )
    pivot_language: LanguageName = Field(default="German", description="Language between, as prompt says it.")
    prompt: Annotated[str, StringConstraints(max_length=4096)] = Field(
        default="Translate the following text into {language}. Answer with the translation alone.",
        description="What the model is told before the text, both ways; empty for models that translate "
        "whatever comes.",
    )
    share: Decimal = Field(default="1", description="Share of the records that get a copy.")
    max_characters: int = Field(
        default=4000, ge=1, le=MAX_COUNT, description="Longer records get no copy: truncate splits them."
    )
    max_tokens: int = Field(default=2048, ge=1, le=MAX_COUNT, description="Tokens of an answer at most.")
    concurrency: int = Field(
        default=8, ge=1, le=64, description="Requests at a time, of each CPU of the workers."
    )
    timeout_seconds: int = Field(default=120, ge=1, le=3600, description="Seconds that an answer may take.")
    seed: int = Field(default=0, ge=0, le=MAX_COUNT, description="Sent with each request.")
