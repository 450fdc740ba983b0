"""Settings that only the libraries of a stage can judge, before any work."""

from collections.abc import Sequence

from deepseek_workloads.contract import reasons
from deepseek_workloads.contract.run_config import DatasetRun
from deepseek_workloads.data.manifest import DatasetError


def check_stages(run: DatasetRun) -> None:
    """Raises DatasetError."""
    for number, stage in enumerate(run.pipeline or ()):
        if stage.redact_pii is not None and stage.redact_pii.phone_regions:
            field = f"spec.pipeline[{number}].redactPii.phoneRegions"
            _check_regions(stage.redact_pii.phone_regions, field=field)


def _check_regions(regions: Sequence[str], *, field: str) -> None:
    import phonenumbers  # of these datasets only: preflight, which every job begins with, checks them too

    unknown = [region for region in regions if region not in phonenumbers.SUPPORTED_REGIONS]
    if unknown:
        raise DatasetError(
            f"{field}: {unknown[0]!r} is no country with phone numbers: give an ISO 3166-1 code such as "
            "US or CN",
            reasons.INVALID_RUN_CONFIG,
        )
