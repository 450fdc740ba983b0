"""Whether what a run is to distil from can teach it: a model that runs beside, or stored logits of one."""

from contextlib import closing

from deepseek_workloads.contract import reasons
from deepseek_workloads.contract.records import DatasetManifest
from deepseek_workloads.contract.run_config import TrainingRun
from deepseek_workloads.data.manifest import pin_manifest
from deepseek_workloads.data.top_k import mismatches, read_teacher_logits
from deepseek_workloads.launch.initial_model import teacher_problems
from deepseek_workloads.launch.refusals import OpenStore, Refusals


def check_teacher(
    run: TrainingRun, manifests: list[DatasetManifest], open_store: OpenStore, refusals: Refusals
) -> None:
    wanted, field = run.training.distillation, "spec.training.distillation.teacher"
    if wanted is None or wanted.teacher is None:
        return
    with refusals.collected(field), closing(open_store(wanted.teacher)) as store:
        for problem in teacher_problems(run, manifests, store):
            refusals.add(reasons.CHECKPOINT_MISMATCH, f"{field}: {problem}")


def check_stored_teacher(run: TrainingRun, open_store: OpenStore, refusals: Refusals) -> None:
    """Whether the logits are of this run's datasets, windows and temperature."""
    wanted, field = run.training.distillation, "spec.training.distillation.teacherLogits"
    if wanted is None or wanted.teacher_logits is None or refusals.found:
        return
    digests = []
    with refusals.collected(field), closing(open_store(wanted.teacher_logits)) as store:
        for source in run.data.sources:
            with closing(open_store(source.storage)) as dataset:
                digests.append(pin_manifest(dataset, source.digest).digest)
        stored = read_teacher_logits(store, wanted.teacher_logits.digest)
        for problem in mismatches(stored, run, digests):
            refusals.add(reasons.DATASET_DIGEST_MISMATCH, f"{field}: {store.uri}: {problem}")
