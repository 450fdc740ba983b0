"""Kinds that this release records without acting on them: a model revision, a model service."""

from typing import TypeVar

from deepseek_operator.api.meta import CommonStatus
from deepseek_operator.api.model_revision import DeepSeekModelRevision
from deepseek_operator.api.model_service import DeepSeekModelService
from deepseek_operator.cluster.kinds import Kind
from deepseek_operator.reconcile.context import Context
from deepseek_operator.reconcile.key import Key
from deepseek_operator.status.conditions import ACCEPTED, Draft, merge

R = TypeVar("R", DeepSeekModelRevision, DeepSeekModelService)
RECORDED = "Recorded"


async def reconcile_recorded(
    context: Context, kind: Kind, model: type[DeepSeekModelRevision] | type[DeepSeekModelService], key: Key
) -> None:
    """Says once for each generation that the resource was seen."""
    document = await context.cluster.get(kind, name=key.name, namespace=key.namespace)
    if document is None or document["metadata"].get("deletionTimestamp"):
        return
    resource = model.model_validate(document)
    generation, earlier = resource.metadata.generation, resource.status
    draft = Draft(ACCEPTED, "True", RECORDED, "recorded; this release does not act on it")
    conditions = merge(
        earlier.conditions, [draft], now=context.clock.now().replace(microsecond=0), generation=generation
    )
    changes = {"observed_generation": generation, "state": RECORDED, "conditions": conditions}
    status: CommonStatus = earlier.model_copy(update=changes)
    if status != earlier:
        await context.cluster.replace_status(kind, document | {"status": status.to_document()})
