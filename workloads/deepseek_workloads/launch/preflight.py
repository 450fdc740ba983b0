"""Is everything there that the run needs? Asked on the coordinator before any worker exists, so that bad
input never holds an accelerator.

`python -m deepseek_workloads.launch.preflight --run-config F --verdict-file V`. It reads manifests and
listings, never the data itself, of weights only those that nothing vouches for (`initial_folder`), and writes
nothing but the probe object of `store.probe`.
"""

import importlib.util
import os
import sys
from contextlib import ExitStack, closing
from importlib.machinery import PathFinder

from deepseek_workloads.contract import environment, reasons
from deepseek_workloads.contract.exit_codes import ExitCode
from deepseek_workloads.contract.messages import Verdict
from deepseek_workloads.contract.recipe import completed, differences, model_digest, recipe_of, up_to
from deepseek_workloads.contract.records import DatasetManifest, Shard
from deepseek_workloads.contract.run_config import (
    AnyRun,
    DatasetRun,
    ServingRun,
    Source,
    TrainingRun,
    parse_run,
)
from deepseek_workloads.data.conversations import sample_plan
from deepseek_workloads.data.document_borders import check_document_index
from deepseek_workloads.data.evaluation_sets import evaluation_plan
from deepseek_workloads.data.manifest import DatasetError, load_manifest
from deepseek_workloads.data.prepare.context import Context
from deepseek_workloads.data.prepare.evaluation_sets import evaluation_fingerprint, model_fingerprint
from deepseek_workloads.data.prepare.raw import check_readable, list_raw
from deepseek_workloads.data.prepare.rendering import check_templates
from deepseek_workloads.data.prepare.stage_checks import check_stages
from deepseek_workloads.launch.arguments import parse_arguments, write_verdict
from deepseek_workloads.launch.initial_model import initial_model_problems
from deepseek_workloads.launch.initial_vision import initial_vision_problems
from deepseek_workloads.launch.refusals import OpenStore, Refusal, Refusals
from deepseek_workloads.launch.served_exports import check_served_exports
from deepseek_workloads.launch.teachers import check_stored_teacher, check_teacher
from deepseek_workloads.store.interface import ObjectStore
from deepseek_workloads.store.log import CommitLog, live_checkpoints, recipe_of_newest_checkpoint
from deepseek_workloads.store.open import open_store
from deepseek_workloads.store.probe import check_conditional_writes


def preflight(run: AnyRun, open_store: OpenStore, *, first_start: bool = True) -> list[Refusal]:
    """Everything that stands in the way of the run; empty: it may start. `first_start`: it has had no
    coordinator before."""
    refusals = Refusals()
    if isinstance(run, ServingRun):  # it reads only, and its credentials may allow no more
        check_served_exports(run, open_store, refusals, first_start=first_start)
        return refusals.found
    goes_on = False
    with refusals.collected("spec.storage"), closing(open_store(run.storage)) as store:
        check_conditional_writes(store)
        if isinstance(run, TrainingRun):
            goes_on = _check_checkpoints(run, store, refusals)
    if isinstance(run, TrainingRun):
        _check_image(run, refusals)
        _check_own_code(run, refusals)
        manifests = _check_sources(run, open_store, refusals)
        if manifests:
            _check_evaluation_sources(run, manifests[0], open_store, refusals)
        _check_initial_model(run, manifests, open_store, refusals, goes_on=goes_on)
        _check_initial_vision(run, open_store, refusals, goes_on=goes_on)
        check_teacher(run, manifests, open_store, refusals)
        check_stored_teacher(run, open_store, refusals)
    else:
        _check_raw_objects(run, open_store, refusals)
    return refusals.found


def _check_image(run: TrainingRun, refusals: Refusals) -> None:
    """Workers have the coordinator's image."""
    if run.backend == "horovod" and importlib.util.find_spec("horovod") is None:
        refusals.add(
            reasons.HOROVOD_MISSING,
            "spec.image: it has no Horovod, which spec.backend horovod needs: name the worker image that has "
            "(target worker-horovod of the Dockerfile), or use backend ray",
        )


def _check_own_code(run: TrainingRun, refusals: Refusals) -> None:
    """Whether the image has the modules; they are imported by the workers only."""
    named = {
        "model.function": run.model_function,
        "training.entrypoint": run.training.entrypoint,
        "training.lossFunction": run.training.loss_function,
        "training.optimizer.function": run.training.optimizer.function,
    }
    for field, entrypoint in named.items():
        module = entrypoint.partition(":")[0] if entrypoint is not None else None
        if module is not None and not _has_module(module):
            refusals.add(
                reasons.INVALID_RUN_CONFIG,
                f"spec.{field}: {entrypoint!r}: spec.image has no module {module!r}: put it on the "
                "image's PYTHONPATH, or name the image that has it",
            )


def _has_module(name: str) -> bool:
    """Without importing the packages around it, as find_spec of the whole name would: workers run them."""
    outermost, *inner = name.split(".")
    try:
        spec = importlib.util.find_spec(outermost)
    except ValueError:  # __main__
        return False
    for part in inner:
        if spec is None:
            break
        spec = PathFinder.find_spec(part, list(spec.submodule_search_locations or ()))
    return spec is not None


def _check_checkpoints(run: TrainingRun, store: ObjectStore, refusals: Refusals) -> bool:
    """Whether there is a checkpoint. A job may go on from what lies in its storage only with the same model,
    data and training: it would else report the steps of another run as its own."""
    entries = CommitLog(store).records()
    checkpoints = live_checkpoints(entries)
    if not checkpoints:
        return False
    newest, recipe = checkpoints[-1].record, recipe_of_newest_checkpoint(entries)
    wanted = model_digest(run)
    if newest.architecture_digest not in ("", wanted):
        refusals.add(
            reasons.CHECKPOINT_MISMATCH,
            f"spec.storage.uri: {run.storage.uri}: its checkpoint of step {newest.step} is of another model "
            f"({newest.architecture_digest}) than spec.model ({wanted}): use a fresh URI, or the model that "
            "the checkpoint was trained with",
        )
        return True
    samples = newest.consumed_samples
    ours = up_to(recipe_of(run), samples)
    if recipe is not None and (different := differences(up_to(completed(recipe), samples), ours)):
        refusals.add(
            reasons.CHECKPOINT_MISMATCH,
            f"spec.storage.uri: {run.storage.uri}: its checkpoint of step {newest.step} is of another run "
            f"({'; '.join(different[:8])}): use a fresh URI, or the values of that run",
        )
    return True


def _check_sources(run: TrainingRun, open_store: OpenStore, refusals: Refusals) -> list[DatasetManifest]:
    """The manifests of the sources that are in order."""
    before = len(refusals.found)
    manifests = []
    for index, source in enumerate(run.data.sources):
        what = f"spec.data.sources[{index}] {source.name!r}"
        with refusals.collected(what), closing(open_store(source.storage)) as store:
            manifests.append(_check_source(run, source, store, refusals))
    if len(refusals.found) == before:
        with refusals.collected("spec.data"), ExitStack() as opened:
            stores = [
                opened.enter_context(closing(open_store(source.storage))) for source in run.data.sources
            ]
            sample_plan(run, manifests, stores)
    return manifests


def _check_evaluation_sources(
    run: TrainingRun, trained: DatasetManifest, open_store: OpenStore, refusals: Refusals
) -> None:
    for index, source in enumerate(run.evaluation.sources or []):
        what = f"spec.evaluation.sources[{index}] {source.name!r}"
        with refusals.collected(what), closing(open_store(source.storage)) as store:
            manifest = _check_source(run, source, store, refusals)
            evaluation_plan(run, source, manifest, store, trained=trained)


def _check_source(
    run: TrainingRun, source: Source, store: ObjectStore, refusals: Refusals
) -> DatasetManifest:
    manifest = load_manifest(store, source.digest)
    if manifest.vocab_size > run.architecture.vocab_size:
        refusals.add(
            reasons.TOKENIZER_TOO_LARGE,
            f"data source {source.name!r}: its tokenizer has {manifest.vocab_size} tokens, but "
            f"spec.model.architecture.vocabSize is {run.architecture.vocab_size}: set it to at least "
            f"{manifest.vocab_size}, or prepare the dataset with a smaller tokenizer",
        )
    shards = [*manifest.train, *manifest.held_out]
    _check_shards(shards, store)
    if run.data.document_mask:
        check_document_index(store, shards)
    return manifest


def _check_shards(shards: list[Shard], store: ObjectStore) -> None:
    """By one listing for each folder, not by a request for each shard. Raises DatasetError."""
    wanted = {shard.key: shard.size for shard in shards}
    wanted |= {shard.images.key: shard.images.size for shard in shards if shard.images is not None}
    sizes = {
        info.key: info.size
        for folder in sorted({key.rpartition("/")[0] for key in wanted})
        for info in store.list(f"{folder}/")
    }
    missing = [key for key in wanted if key not in sizes]
    if missing:
        raise DatasetError(
            f"{store.uri}: {len(missing)} of {len(wanted)} shards of the manifest do not exist, the first is "
            f"{missing[0]}: restore them, or prepare the dataset again under a fresh URI",
            reasons.OBJECT_NOT_FOUND,
        )
    wrong = [key for key, size in wanted.items() if sizes[key] != size]
    if wrong:
        first = wrong[0]
        raise DatasetError(
            f"{store.uri}: {first} has {sizes[first]} bytes, its manifest says {wanted[first]}: "
            "restore it, or prepare the dataset again under a fresh URI"
        )


def _check_initial_model(
    run: TrainingRun,
    manifests: list[DatasetManifest],
    open_store: OpenStore,
    refusals: Refusals,
    *,
    goes_on: bool,
) -> None:
    """`goes_on`: from a checkpoint, so that the weights are read again for consolidation only."""
    if run.init_from is None:
        return
    read = not goes_on or run.training.consolidation is not None
    with refusals.collected("spec.model.initFrom"), closing(open_store(run.init_from)) as store:
        for problem in initial_model_problems(run, manifests, store, read_weights=read):
            refusals.add(reasons.CHECKPOINT_MISMATCH, f"spec.model.initFrom: {problem}")


def _check_initial_vision(
    run: TrainingRun, open_store: OpenStore, refusals: Refusals, *, goes_on: bool
) -> None:
    wanted, field = run.vision_init_from, "spec.model.vision.initFrom"
    if wanted is None:
        return
    with refusals.collected(field), closing(open_store(wanted)) as store:
        for problem in initial_vision_problems(run.architecture, store, read_weights=not goes_on):
            refusals.add(reasons.CHECKPOINT_MISMATCH, f"{field}: {problem}")


def _check_raw_objects(run: DatasetRun, open_store: OpenStore, refusals: Refusals) -> None:
    context = Context(run=run, attempt="", open_store=open_store)
    with refusals.collected("spec.sources"):
        check_templates(run)
        check_readable(context, list_raw(context))
    with refusals.collected("spec.pipeline"):
        check_stages(run)
        evaluation_fingerprint(context, run)
        model_fingerprint(context, run)
    if run.tokenizer_uri is not None:
        folder, _, name = run.tokenizer_uri.rpartition("/")
        storage = run.raw_storage.model_copy(update={"uri": folder})
        with refusals.collected("spec.tokenizer.uri"), closing(open_store(storage)) as store:
            store.stat(name)


def verdict_of(refusals: list[Refusal]) -> Verdict | None:
    """None: may start. What is final comes before what may pass by itself."""
    if not refusals:
        return None
    final = [refusal for refusal in refusals if not refusal.transient]
    first = (final or refusals)[0]
    return Verdict(
        outcome="Failed" if final else "Retry",
        reason=first.reason,
        message="\n".join(refusal.message for refusal in final or refusals),
        exit_code=ExitCode.BAD_INPUT if final else ExitCode.TRY_AGAIN,
    )


def main(argv: list[str]) -> int:
    arguments = parse_arguments(argv, program="deepseek_workloads.launch.preflight")
    first_start = int(os.environ.get(environment.INCARNATION, "0")) == 0
    verdict = verdict_of(preflight(parse_run(arguments.run_document), open_store, first_start=first_start))
    if verdict is None:
        return ExitCode.DONE
    print(verdict.message, flush=True)
    write_verdict(arguments.verdict_file, verdict)
    return verdict.exit_code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
