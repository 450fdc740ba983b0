"""From a run config to a checked model and a running engine: what a replica does before it takes requests."""

from collections.abc import Callable
from contextlib import closing

import torch

from deepseek_workloads.contract.run_config import ServingRun, Storage
from deepseek_workloads.export.error import ExportError
from deepseek_workloads.export.load import load_export, open_export
from deepseek_workloads.serve.api.app import Service
from deepseek_workloads.serve.check import CheckReport, check
from deepseek_workloads.serve.engine.engine import Engine
from deepseek_workloads.serve.metrics import ServingMetrics
from deepseek_workloads.serve.served_model import ServedModel, served_model
from deepseek_workloads.store.interface import NotFound, ObjectStore, StoreError

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
OpenStore = Callable[[Storage], ObjectStore]


def load_model(run: ServingRun, *, open_store: OpenStore, device: str) -> ServedModel:
    """Every byte is held against the manifest, the manifest against the revision's digest.

    Raises ExportError, TemplateError and StoreErrors.
    """
    with closing(open_store(run.storage)) as store:
        export = load_export(
            store,
            recorded=run.revision.digest,
            dtype=_DTYPES[run.engine.precision],
            device=device,
            int8=True,
        )
    return served_model(export, name=run.served_model_name, max_model_len=run.engine.max_model_len)


def check_model(model: ServedModel, run: ServingRun, *, open_store: OpenStore) -> CheckReport:
    """Raises CheckFailed. A baseline that cannot be read is no fault of the model's: the report says so."""
    texts, missing = _baseline_texts(run, open_store=open_store)
    return check(model, run.check, baseline_texts=texts, missing=missing)


def _baseline_texts(run: ServingRun, *, open_store: OpenStore) -> tuple[list[str], str]:
    """And why there are none. Preflight has refused a candidate that cannot be compared; a replica also comes
    up years later, to a cluster that is the active one itself."""
    baseline = run.check.baseline
    if baseline is None:
        return [], ""
    try:
        with closing(open_store(baseline.storage)) as store:
            return open_export(store, recorded=baseline.digest).held_out(), ""
    except NotFound:
        return [], "the active revision's export is gone"
    except (StoreError, ExportError) as error:
        return [], f"the active revision's export cannot be read: {error}"


def start_service(model: ServedModel, run: ServingRun, *, draining: Callable[[], bool]) -> Service:
    metrics = ServingMetrics()
    engine = Engine(
        model.export.model,
        decode=model.export.tokenizer.decode,
        eos_token_id=model.export.eos_token_id,
        settings=run.engine,
        observer=metrics,
    )
    engine.start()
    return Service(model, engine, metrics, default_seed=run.engine.seed, draining=draining)
