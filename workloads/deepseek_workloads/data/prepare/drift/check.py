"""A drift check: what is below the sources and was not there when the dataset was made, against the dataset.

It reads the manifest and its report, lists the sources, and reads a sample. It writes nothing.
"""

import logging

import numpy as np

from deepseek_workloads.contract import reasons
from deepseek_workloads.contract.messages import DriftVerdict
from deepseek_workloads.contract.records import DatasetManifest
from deepseek_workloads.contract.run_config import DatasetRun
from deepseek_workloads.data.manifest import DatasetError, load_manifest
from deepseek_workloads.data.prepare.context import Context, OpenStore, read_file
from deepseek_workloads.data.prepare.drift.divergence import population_stability_index
from deepseek_workloads.data.prepare.drift.features import (
    Sample,
    expected_histograms,
    features_of,
    judging_stages,
)
from deepseek_workloads.data.prepare.drift.sampling import sample_documents
from deepseek_workloads.data.prepare.plan import stages_of
from deepseek_workloads.data.prepare.raw import list_raw, object_hashes
from deepseek_workloads.data.prepare.reading import BadRecord
from deepseek_workloads.data.prepare.records import RawSlice
from deepseek_workloads.data.prepare.report import PreparationReport
from deepseek_workloads.store.interface import ObjectChanged, ObjectStore, StoreError

LEAST_DOCUMENTS = 100  # fewer differ by chance alone
_log = logging.getLogger(__name__)


def check_drift(
    run: DatasetRun, *, digest: str, documents: int, seed: int, open_store: OpenStore
) -> DriftVerdict:
    """`digest`: of the dataset's manifest; `documents`: of the sample at most. What keeps it from comparing
    becomes a verdict: the next check may be luckier."""
    context = Context(run=run, attempt="", open_store=open_store)
    try:
        return _compare(context, digest=digest, documents=documents, seed=seed)
    except (DatasetError, ObjectChanged, StoreError) as error:
        return DriftVerdict(outcome="Failed", reason=error.reason, message=str(error))


def _compare(context: Context, *, digest: str, documents: int, seed: int) -> DriftVerdict:
    with context.output() as store:
        manifest = load_manifest(store, digest)
        report = _report(store, manifest)
        new = _new_objects(context, store, manifest)
    if not new:
        return DriftVerdict(outcome="NothingNew", message="no raw object is new since the dataset was made")
    sample = Sample(judging_stages(context, stages_of(context.run)))
    for record in sample_documents(context, new, documents=documents, seed=seed):
        if isinstance(record, BadRecord):
            sample.add_unreadable()
        else:
            sample.add(record)
    _log.info("%d documents of %d new objects", sample.documents, len(new))
    if sample.documents < LEAST_DOCUMENTS:
        return DriftVerdict(
            outcome="TooFewDocuments",
            message=f"{sample.documents} new documents: {LEAST_DOCUMENTS} tell more than chance",
            new_objects=len(new),
            documents=sample.documents,
        )
    expected = expected_histograms(report, stages=[name for name, _ in sample.stages])
    return DriftVerdict(
        outcome="Compared",
        new_objects=len(new),
        documents=sample.documents,
        divergences={
            feature: round(population_stability_index(expected[feature], sample.histograms[feature]), 4)
            for feature in features_of(context.run)
        },
    )


def _report(store: ObjectStore, manifest: DatasetManifest) -> PreparationReport:
    """Raises DatasetError where the dataset has none, or none with the histograms."""
    files = manifest.report.files if manifest.report else []
    found = next((file for file in files if file.key.endswith("/report.json")), None)
    report = PreparationReport.model_validate_json(read_file(store, found)) if found is not None else None
    if report is None or not report.lengths:
        raise DatasetError(
            f"{store.uri}: its manifest names no report with lengths of documents, as older operators wrote "
            "it: prepare the dataset again, at another storage.uri, or leave out spec.driftCheck",
            reasons.DATASET_INVALID,
        )
    return report


def _new_objects(context: Context, store: ObjectStore, manifest: DatasetManifest) -> list[RawSlice]:
    """All of them where the manifest is older than the list of raw objects."""
    slices = list_raw(context)
    if manifest.raw_objects is None:
        return slices
    known = np.frombuffer(read_file(store, manifest.raw_objects), dtype="<u8")
    new = ~np.isin(object_hashes(context.run, slices), known)
    return [slices[at] for at in np.flatnonzero(new).tolist()]
