"""Requests and answers, named as in OpenAI's API. Strict: nothing is converted, nothing unknown ignored."""

from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    SerializerFunctionWrapHandler,
    Tag,
    model_serializer,
    model_validator,
)
from pydantic_core import PydanticCustomError

from deepseek_workloads.serve.api.errors import UNSUPPORTED_VALUE

INT64 = 2**63
# Alternatives of a field, chosen by what was sent, so that an error speaks of what was meant. Their names are
# no identifiers: they are no part of a field's path.
_TEXT, _TEXTS, _TOKENS, _TOKEN_LISTS = "a text", "a list of texts", "token ids", "lists of token ids"


def _whole_characters(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("must be Unicode text: it holds half of a surrogate pair") from None
    return text


def _one_prompt(prompts: list[Any]) -> list[Any]:
    if len(prompts) > 1:
        raise PydanticCustomError(
            UNSUPPORTED_VALUE,
            "{number} prompts: one a request is supported; send each in a request of its own",
            {"number": len(prompts)},
        )
    return prompts


def _shape_of_prompt(prompt: Any) -> str | None:
    if isinstance(prompt, str):
        return _TEXT
    if not isinstance(prompt, list):
        return None
    first = prompt[0] if prompt else None
    return _TEXTS if isinstance(first, str) else _TOKEN_LISTS if isinstance(first, list) else _TOKENS


def _shape_of_stop(stop: Any) -> str | None:
    return _TEXT if isinstance(stop, str) else _TEXTS if isinstance(stop, list) else None


Text = Annotated[str, AfterValidator(_whole_characters)]
StopString = Annotated[Text, Field(min_length=1, max_length=256)]
TokenId = Annotated[int, Field(ge=0, lt=2**31)]
TokenIds = Annotated[list[TokenId], Field(min_length=1)]
# Of OpenAI's API, as clients send them to models that see or hear.
_OTHER_PARTS = ("image_url", "input_image", "input_audio", "video_url", "file")
_OnePrompt = AfterValidator(_one_prompt), Field(min_length=1, json_schema_extra={"maxItems": 1})
Prompt = Annotated[
    Annotated[Text, Tag(_TEXT)]
    | Annotated[TokenIds, Tag(_TOKENS)]
    | Annotated[list[Text], *_OnePrompt, Tag(_TEXTS)]
    | Annotated[list[TokenIds], *_OnePrompt, Tag(_TOKEN_LISTS)],
    Discriminator(
        _shape_of_prompt,
        custom_error_type="prompt_type",
        custom_error_message="must be a text, a list of token ids, or a list of one of them",
    ),
]
Stop = Annotated[
    Annotated[StopString, Tag(_TEXT)] | Annotated[list[StopString], Field(max_length=4), Tag(_TEXTS)],
    Discriminator(
        _shape_of_stop,
        custom_error_type="stop_type",
        custom_error_message="must be a text or a list of at most 4 texts",
    ),
]
Nothing = Annotated[list[Any], Field(max_length=0)]  # an empty list asks for nothing


class Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


# ---- requests


class StreamOptions(Strict):
    include_usage: bool | None = None
    include_obfuscation: Literal[False] | None = None


class GenerationRequest(Strict):
    """What completions and chat completions share."""

    model: Text = Field(max_length=256)
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    seed: int | None = Field(default=None, ge=-INT64, lt=INT64)
    stop: Stop | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: int | None = Field(default=None, ge=1, lt=2**31)
    n: Literal[1] | None = None
    presence_penalty: Literal[0] | None = None
    frequency_penalty: Literal[0] | None = None
    logit_bias: Annotated[dict[str, Any], Field(max_length=0)] | None = None
    # Of no effect on the answer.
    user: str | None = Field(default=None, max_length=1024)
    metadata: dict[str, str] | None = None
    store: bool | None = None


class CompletionRequest(GenerationRequest):
    prompt: Prompt
    best_of: Literal[1] | None = None
    echo: Literal[False] | None = None
    logprobs: None = None
    suffix: None = None


class TextPart(Strict):
    type: Literal["text"]
    text: Text

    @model_validator(mode="before")
    @classmethod
    def _text_only(cls, part: Any) -> Any:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind in _OTHER_PARTS:
            raise PydanticCustomError(
                UNSUPPORTED_VALUE,
                "a part of type {kind}: this server takes text only, whatever its model sees; send parts of "
                "type text",
                {"kind": kind},
            )
        return part


class Message(Strict):
    role: Literal["system", "developer", "user", "assistant"]
    content: Text | list[TextPart]
    name: str | None = Field(default=None, max_length=64)


class TextFormat(Strict):
    type: Literal["text"]


class ChatCompletionRequest(GenerationRequest):
    messages: list[Message] = Field(min_length=1)
    max_completion_tokens: int | None = Field(default=None, ge=1, lt=2**31)
    logprobs: Literal[False] | None = None
    top_logprobs: None = None
    response_format: TextFormat | None = None
    tools: Nothing | None = None
    tool_choice: Literal["none"] | None = None


class PredictRequest(Strict):
    """Sequences of token ids, each by itself."""

    input_ids: Annotated[
        list[Annotated[list[TokenId], Field(min_length=1)]], Field(min_length=1, max_length=256)
    ]


class EmbeddingsRequest(BaseModel):
    """Of any shape: there are no embeddings yet."""


# ---- answers

FinishReason = Literal["stop", "length"]


class Usage(BaseModel):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class CompletionChoice(BaseModel):
    index: int = 0
    text: str
    logprobs: None = None
    finish_reason: FinishReason | None


class Completion(BaseModel):
    id: str
    object: Literal["text_completion"] = "text_completion"
    created: int
    model: str
    system_fingerprint: str
    choices: list[CompletionChoice]
    usage: Usage | None = None


class AnswerMessage(BaseModel):
    role: Literal["assistant"] = "assistant"
    content: str
    refusal: None = None


class ChatChoice(BaseModel):
    index: int = 0
    message: AnswerMessage
    logprobs: None = None
    finish_reason: FinishReason


class ChatCompletion(BaseModel):
    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    system_fingerprint: str
    choices: list[ChatChoice]
    usage: Usage


class ChatDelta(BaseModel):
    """What is new; what is not is left out, as OpenAI does."""

    role: Literal["assistant"] | None = None
    content: str | None = None

    @model_serializer(mode="wrap")
    def _without_absent(self, serialize: SerializerFunctionWrapHandler) -> dict[str, str]:
        return {name: value for name, value in serialize(self).items() if value is not None}


class ChatChunkChoice(BaseModel):
    index: int = 0
    delta: ChatDelta
    logprobs: None = None
    finish_reason: FinishReason | None = None


class ChatCompletionChunk(BaseModel):
    id: str
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    created: int
    model: str
    system_fingerprint: str
    choices: list[ChatChunkChoice]
    usage: Usage | None = None


class ModelCard(BaseModel):
    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str
    max_model_len: int


class ModelList(BaseModel):
    object: Literal["list"] = "list"
    data: list[ModelCard]


class Prediction(BaseModel):
    logits: list[list[list[float]]]  # sequence, token, vocabulary


class Health(BaseModel):
    status: Literal["ok"] = "ok"
