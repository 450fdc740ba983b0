"""spec.sources of a DeepSeekDataset: where raw objects lie and how they are read."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from deepseek_operator.api.schema import ATOMIC_LIST, DnsLabel, SpecModel, StorageUri, rule, with_rules

GlobPattern = Annotated[str, StringConstraints(min_length=1, max_length=256)]


class RawSource(SpecModel):
    """Raw objects below one prefix."""

    model_config = with_rules(
        rule(
            "self.format != 'image-text' || !self.include.exists(pattern, pattern == '*')",
            "* would read images as lines: use patterns that match the lines only, such as *.jsonl",
            field_path=".include",
        ),
        rule(
            "!has(self.template) || self.format in ['jsonl', 'parquet', 'webdataset']",
            "belongs to records with fields: use it with format jsonl, parquet or webdataset",
            field_path=".template",
        ),
        rule(
            "!has(self.captions) || self.format == 'image-text'",
            "belongs to sources of format image-text",
            field_path=".captions",
        ),
    )

    name: DnsLabel = Field(description="Name of the source within the dataset.")
    uri: StorageUri = Field(description="s3://bucket/prefix of the raw objects, or pvc://claim/folder.")
    format: Literal["text", "jsonl", "chat", "image-text", "parquet", "webdataset", "html"] = Field(
        default="text",
        description="text: an object is a document. html: it is a page. jsonl: each line is one. parquet: "
        "each row. webdataset: each sample of a tar. chat: each line is a conversation, messages of {role, "
        "content}. image-text: each line is a text or a conversation, and images, keys below uri (let "
        "include match the lines only, and captions). A dataset holds one of chat, image-text and the "
        "others. Objects that end with .gz or .zst are decompressed.",
    )
    text_field: Annotated[str, StringConstraints(min_length=1, max_length=128)] = Field(
        default="text",
        description="Field of a JSON line, column of Parquet, or extension of a member that holds the text.",
    )
    template: Annotated[str, StringConstraints(min_length=1, max_length=8192)] | None = Field(
        default=None,
        description="Jinja template that makes the text of a record's fields, in place of textField.",
    )
    include: list[GlobPattern] = Field(
        default_factory=lambda: ["*"],
        min_length=1,
        max_length=16,
        description="Patterns of keys below uri to take, for instance *.jsonl.",
        json_schema_extra={**ATOMIC_LIST, "default": ["*"]},
    )
    exclude: list[GlobPattern] = Field(
        default_factory=list,
        max_length=16,
        description="Patterns of keys below uri to leave out.",
        json_schema_extra=ATOMIC_LIST,
    )
    captions: list[GlobPattern] | None = Field(
        default=None,
        min_length=1,
        max_length=16,
        description="Of image-text: patterns of keys of captions, such as *.txt. Each is the text of the "
        "image of the same name beside it (.jpg, .jpeg, .png or .webp).",
        json_schema_extra=ATOMIC_LIST,
    )
