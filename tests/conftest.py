"""What all tiers share: how property tests run (without a deadline, as timings are not asserted; in CI with
the same examples every time, as a gate must not depend on luck), and where an export came from."""

import os

import pytest
from hypothesis import settings

from deepseek_workloads.contract.records import Provenance

settings.register_profile("developer", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "developer")


@pytest.fixture(scope="session")
def provenance() -> Provenance:
    """Of an export that a test makes: some job's, of no meaning."""
    return Provenance(
        owner_namespace="research",
        owner_name="tiny",
        owner_uid="0b5e",
        epoch=2,
        step=40,
        consumed_samples=320,
        checkpoint_prefix="data/1/",
        run_config_digest=f"sha256:{'a' * 64}",
        dataset_digests=[f"sha256:{'b' * 64}"],
    )
