"""A resource that this operator cannot read, since another release has stored it: the resource says so.

Nothing of it is created or deleted: what runs goes on, and is looked after again once it can be read.
"""

import logging
from typing import Final

from pydantic import ValidationError

from deepseek_operator.api.meta import Condition
from deepseek_operator.cluster.interface import Document
from deepseek_operator.cluster.kinds import Kind
from deepseek_operator.reconcile.context import Context
from deepseek_operator.status.conditions import ACCEPTED
from deepseek_operator.status.draft import Draft, merge
from deepseek_operator.status.run_status import REFUSED

UNREADABLE: Final = "Unreadable"
_MAX_PROBLEMS: Final = 3

_LOG = logging.getLogger(__name__)


async def tell_unreadable(context: Context, kind: Kind, document: Document, error: ValidationError) -> None:
    """Writes the condition once. Raises ClusterError."""
    metadata, before = document["metadata"], document.get("status") or {}
    draft = Draft(ACCEPTED, "False", UNREADABLE, _words(kind, error))
    now, generation = context.clock.now().replace(microsecond=0), metadata.get("generation", 0)
    (condition,) = merge(_accepted(before), [draft], now=now, generation=generation)
    others = [each for each in before.get("conditions") or [] if each.get("type") != ACCEPTED]
    found = condition.model_dump(mode="json", by_alias=True)
    status = {**before, "state": REFUSED, "conditions": [found, *others]}
    if status == before:
        return
    _LOG.warning("%s %s/%s: %s", kind.kind, metadata["namespace"], metadata["name"], draft.message)
    await context.cluster.replace_status(kind, {**document, "status": status})


def _accepted(status: Document) -> list[Condition]:
    """As it was told before, where that can be read."""
    try:
        return [
            Condition.model_validate(each)
            for each in status.get("conditions") or []
            if each.get("type") == ACCEPTED
        ]
    except ValidationError:
        return []


def _words(kind: Kind, error: ValidationError) -> str:
    problems = [
        f"{'.'.join(map(str, each['loc']))}: {each['msg']}"
        for each in error.errors(include_url=False, include_context=False, include_input=False)
    ]
    shown = "; ".join(problems[:_MAX_PROBLEMS])
    return (
        f"this operator cannot read the {kind.kind}, which another release has stored: {shown}; what runs is "
        "left alone: correct the fields, or install the release that it was made for"
    )
