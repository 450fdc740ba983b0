"""Lists of words that a stage has in an object of its own, as JSON lines: too many for a spec.

A line of a lexicon of synonyms is {"word": ..., "synonyms": [...]}, of a list of entities {"type": ...,
"phrases": [...]}: what the spec has in place, without its limit of entries.
"""

import json
from collections.abc import Iterator, Sequence
from typing import Final, TypeVar

from pydantic import ValidationError

from deepseek_workloads.contract import reasons
from deepseek_workloads.contract.augmentation import ReplaceSynonyms, Synonyms
from deepseek_workloads.contract.pipeline import AnnotateEntities, EntityPhrases, RecordSettings
from deepseek_workloads.contract.setting_rules import check_named_once
from deepseek_workloads.contract.wire import WireModel
from deepseek_workloads.data.manifest import DatasetError
from deepseek_workloads.data.prepare.context import Context
from deepseek_workloads.data.prepare.evaluation_content import read_evaluation_set
from deepseek_workloads.data.prepare.evaluation_sets import check_unchanged

MAX_LEXICON_BYTES: Final = 64 * 1024**2  # decompressed; each task holds it

Entry = TypeVar("Entry", bound=WireModel)


def with_lexicon(context: Context, settings: RecordSettings) -> RecordSettings:
    """The settings with the entries that they name by URI in place. Raises DatasetError, ObjectChanged, and
    StoreErrors."""
    match settings:
        case ReplaceSynonyms(lexicon_uri=str() as uri):
            lexicon = read_lexicon(context, uri, Synonyms)
            _check_once(uri, [entry.word.casefold() for entry in lexicon])
            return settings.model_copy(update={"lexicon": lexicon})
        case AnnotateEntities(entities_uri=str() as uri):
            entities = read_lexicon(context, uri, EntityPhrases)
            _check_once(uri, [phrase for entry in entities for phrase in entry.phrases])
            return settings.model_copy(update={"entities": entities})
    return settings


def check_lexicons(context: Context) -> None:
    """Before any work. Raises as `with_lexicon`."""
    for stage in context.run.pipeline or ():
        if stage.replace_synonyms is not None:
            with_lexicon(context, stage.replace_synonyms)
        if stage.annotate_entities is not None:
            with_lexicon(context, stage.annotate_entities)


def read_lexicon(context: Context, uri: str, kind: type[Entry]) -> list[Entry]:
    content, line = read_evaluation_set(context, uri)
    if context.inputs is not None:
        check_unchanged([line], context.inputs)
    if len(content) > MAX_LEXICON_BYTES:
        raise _refused(uri, f"more than {MAX_LEXICON_BYTES} bytes: give fewer words")
    entries = list(_entries(content, uri=uri, kind=kind))
    if not entries:
        raise _refused(uri, "has no line: give one at least")
    return entries


def _entries(content: bytes, *, uri: str, kind: type[Entry]) -> Iterator[Entry]:
    for number, line in enumerate(content.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            yield kind.model_validate(json.loads(line))
        except ValidationError as error:
            [first, *_] = error.errors(include_url=False)
            field = ".".join(map(str, first["loc"]))
            raise _refused(uri, f"line {number}: {field}: {first['msg']}: correct it") from error
        except ValueError as error:
            raise _refused(uri, f"line {number}: {error}: give a JSON object a line") from error


def _check_once(uri: str, names: Sequence[str]) -> None:
    try:
        check_named_once("entry", list(names))
    except ValueError as error:
        raise _refused(uri, str(error)) from error


def _refused(uri: str, why: str) -> DatasetError:
    return DatasetError(f"lexicon {uri}: {why}", reasons.INVALID_RUN_CONFIG)
