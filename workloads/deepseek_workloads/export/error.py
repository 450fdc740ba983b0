"""What an export that is not what was asked for raises. It knows no torch: drivers classify it."""

from deepseek_workloads.contract import reasons


class ExportError(Exception):
    """What lies there is not the export that was asked for. `reason` is one of `contract.reasons`."""

    reason = reasons.CHECKPOINT_MISMATCH
