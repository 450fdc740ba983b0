"""Kinds that are recorded and acted on by others: a model revision."""

from typing import Final

from pydantic import ValidationError

from deepseek_operator.api.model_revision import DeepSeekModelRevision
from deepseek_operator.cluster.kinds import MODEL_REVISION
from deepseek_operator.reconcile.context import Context
from deepseek_operator.reconcile.key import Key
from deepseek_operator.reconcile.unreadable import tell_unreadable
from deepseek_operator.status.conditions import ACCEPTED
from deepseek_operator.status.draft import Draft, merge
from deepseek_operator.status.run_status import REFUSED
from deepseek_operator.validation.model_revision import validate_revision

RECORDED: Final = "Recorded"


async def reconcile_revision(context: Context, key: Key) -> None:
    """Says once for each generation that the revision was seen."""
    document = await context.cluster.get(MODEL_REVISION, name=key.name, namespace=key.namespace)
    if document is None or document["metadata"].get("deletionTimestamp"):
        return
    try:
        revision = DeepSeekModelRevision.model_validate(document)
    except ValidationError as error:
        await tell_unreadable(context, MODEL_REVISION, document, error)
        return
    generation, earlier = revision.metadata.generation, revision.status
    problems = validate_revision(revision)
    draft = (
        Draft(ACCEPTED, "False", problems[0].reason, "; ".join(map(str, problems)))
        if problems
        else Draft(ACCEPTED, "True", RECORDED, "recorded; a DeepSeekModelService serves it")
    )
    conditions = merge(
        earlier.conditions, [draft], now=context.clock.now().replace(microsecond=0), generation=generation
    )
    changes = {
        "observed_generation": generation,
        "state": REFUSED if problems else RECORDED,
        "conditions": conditions,
    }
    status = earlier.model_copy(update=changes)
    if status != earlier:
        await context.cluster.replace_status(MODEL_REVISION, document | {"status": status.to_document()})
