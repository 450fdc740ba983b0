"""Stages that add copies of documents, and their settings. The copies are marked as augmented.

Types only. A share is a number from 0 to 1.
"""

from typing import Annotated, Final, Self

from pydantic import Field, model_validator

from deepseek_workloads.contract.setting_rules import check_named_once, check_one_of
from deepseek_workloads.contract.stage_model import StageModel
from deepseek_workloads.contract.wire import WireModel

Share = Annotated[float, Field(ge=0, le=1)]
LANGUAGE_PLACE: Final = "{language}"  # in a prompt: the name of the language to translate into


class Synonyms(WireModel):
    word: str = Field(max_length=64, pattern=r"^\w+$")
    synonyms: list[Annotated[str, Field(min_length=1, max_length=64)]] = Field(min_length=1, max_length=8)


class ReplaceSynonyms(WireModel):
    """Adds copies of each document in which words of the lexicon are replaced, marked as augmented."""

    lexicon: list[Synonyms] = Field(default_factory=list, max_length=1024)
    lexicon_uri: str | None = None  # of JSON lines of the same, on the sources' store
    rate: Share = 0.1  # of the words that the lexicon has
    copies: int = Field(default=1, ge=1, le=8)
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _one_entry_a_word(self) -> Self:
        check_one_of("lexicon", bool(self.lexicon), "lexiconUri", self.lexicon_uri is not None)
        check_named_once("word", [entry.word.casefold() for entry in self.lexicon])
        return self


class ReorderClauses(WireModel):
    """Adds copies of each document in which adverbial clauses change places, by a dependency parse."""

    model: StageModel  # a UDPipe file
    languages: list[str] = Field(default_factory=list, max_length=16)  # ISO 639-1, of the model; empty: all
    rate: Share = 0.5  # of the sentences that have such a clause
    copies: int = Field(default=1, ge=1, le=8)
    seed: int = Field(default=0, ge=0)


class BackTranslate(WireModel):
    """Adds a copy of each document that a served model has translated into another language and back."""

    base_url: str  # of an OpenAI-compatible API, with its /v1
    model: str = Field(min_length=1, max_length=256)  # there
    back_model: str | None = Field(default=None, min_length=1, max_length=256)  # and back; None: the same
    language: str = Field(default="English", min_length=1, max_length=64)  # of the documents
    pivot_language: str = Field(default="German", min_length=1, max_length=64)
    # What the model is told before the text; empty: the text alone, for models that translate whatever comes.
    prompt: str = Field(
        default="Translate the following text into {language}. Answer with the translation alone.",
        max_length=4096,
    )
    share: Share = 1.0  # of the documents, chosen by their hash
    max_characters: int = Field(default=4000, ge=1)  # longer documents get no copy
    max_tokens: int = Field(default=2048, ge=1)  # of an answer
    concurrency: int = Field(default=8, ge=1, le=64)  # requests at a time, of each part in progress
    timeout_seconds: int = Field(default=120, ge=1, le=3600)  # of a request
    seed: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _prompt_says_which_language(self) -> Self:
        if self.prompt and LANGUAGE_PLACE not in self.prompt:
            raise ValueError(
                f"prompt: has no {LANGUAGE_PLACE}, and serves both ways: write it where the language's name "
                "belongs, or leave the prompt empty"
            )
        return self
