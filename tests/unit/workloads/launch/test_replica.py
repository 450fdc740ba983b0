"""What a replica that could not start tells the coordinator, which decides by it."""

import pytest

from deepseek_workloads.contract import reasons
from deepseek_workloads.data.chat_template import TemplateError
from deepseek_workloads.export.error import ExportError
from deepseek_workloads.launch.replica import failure_of
from deepseek_workloads.serve.check import CheckFailed
from deepseek_workloads.store.interface import AccessDenied, StoreUnavailable


@pytest.mark.parametrize(
    ("error", "kind", "reason"),
    [
        (CheckFailed("worse"), "final", reasons.CHECK_FAILED),
        (ExportError("cut"), "final", reasons.EXPORT_INVALID),
        (TemplateError("no template"), "final", reasons.EXPORT_INVALID),
        (AccessDenied("no"), "final", "AccessDenied"),
        (StoreUnavailable("later"), "try-again", "StoreUnreachable"),
        (MemoryError(), "failed", reasons.REPLICAS_FAILED),
    ],
)
def test_only_what_another_start_would_find_again_is_final(error: Exception, kind: str, reason: str) -> None:
    failure = failure_of(error, index=2)

    assert (failure.kind, failure.reason, failure.rank) == (kind, reason, 2)
    assert failure.message.startswith("replica 2: ")
