"""One replica in its process: brings the model up, answers by `serve.api`, tells the coordinator how it is.

A replica that could not be brought up says why to the coordinator, which decides; it then takes no request.
"""

import os
import threading
from pathlib import Path

from fastapi import FastAPI

from deepseek_workloads.contract import environment, reasons
from deepseek_workloads.contract.exit_codes import ExitCode
from deepseek_workloads.contract.messages import Failure, Progress, ServingProgress
from deepseek_workloads.contract.run_config import ServingRun, parse_run
from deepseek_workloads.data.chat_template import TemplateError
from deepseek_workloads.export.error import ExportError
from deepseek_workloads.launch.report import report_client
from deepseek_workloads.serve.api.app import Service, application
from deepseek_workloads.serve.api.keys import ApiKeys
from deepseek_workloads.serve.bring_up import check_model, load_model, start_service
from deepseek_workloads.serve.check import CheckFailed, CheckReport
from deepseek_workloads.store.interface import StoreError
from deepseek_workloads.store.open import open_store
from deepseek_workloads.train.monitor import ReportClient

REPORT_SECONDS = 1.0
MAX_MESSAGE = 1000


class Replica:
    def __init__(self, run_document: str) -> None:
        """Blocks until the model may be served. Raises what `bring_up` raises, after it was reported."""
        run = parse_run(run_document)
        assert isinstance(run, ServingRun)
        self._run = run
        index = int(os.environ.get(environment.WORKER_INDEX, "0"))
        self._monitor = report_client(index)
        try:
            self._service, self._report = bring_up(run, self._monitor)
        except Exception as error:
            self._monitor.report_failure(failure_of(error, index=index))
            self._monitor.close()
            raise
        threading.Thread(target=self._tell, name="report", daemon=True).start()

    def application(self) -> FastAPI:
        keys = ApiKeys(Path(environment.API_KEYS_DIR)) if self._run.require_api_key else None
        return application(self._service, keys=keys)

    def check_health(self) -> None:
        """Raises RuntimeError when this process can answer no more."""
        if not self._service.engine.alive:
            raise RuntimeError("the engine's thread has ended")

    def _tell(self) -> None:
        never = threading.Event()
        while not never.wait(REPORT_SECONDS):
            self._monitor.publish(progress_of(self._service, self._report))


def bring_up(run: ServingRun, monitor: ReportClient) -> tuple[Service, CheckReport]:
    """Raises what `serve.bring_up` raises."""
    monitor.publish(Progress(phase="Starting", message="loading the model"))
    device = "cuda" if run.workers.gpus_per_node else "cpu"
    model = load_model(run, open_store=open_store, device=device)
    monitor.publish(Progress(phase="Checking", message="checking the model"))
    report = check_model(model, run, open_store=open_store)
    service = start_service(model, run, draining=Path(environment.DRAIN_FILE).exists)
    monitor.publish(progress_of(service, report))
    return service, report


def progress_of(service: Service, report: CheckReport) -> Progress:
    """Of this replica; the coordinator adds them up."""
    return Progress(
        phase="Serving",
        warnings=report.warnings,
        serving=ServingProgress(
            checked=True,
            bits_per_byte=report.bits_per_byte,
            bits_per_byte_on_baseline=report.bits_per_byte_on_baseline,
            requests=service.metrics.answered,
            running=service.engine.running,
            queued=service.engine.queued,
        ),
    )


def failure_of(error: Exception, *, index: int) -> Failure:
    """Of what ended a start: final where another start would find the same."""
    kind, reason, code = "failed", reasons.REPLICAS_FAILED, 1
    match error:
        case CheckFailed():
            kind, reason, code = "final", error.reason, ExitCode.BAD_INPUT
        case ExportError() | TemplateError():
            kind, reason, code = "final", reasons.EXPORT_INVALID, ExitCode.BAD_INPUT
        case StoreError() if error.transient:
            kind, reason, code = "try-again", error.reason, ExitCode.TRY_AGAIN
        case StoreError():
            kind, reason, code = "final", error.reason, ExitCode.BAD_INPUT
    message = f"replica {index}: {error or type(error).__name__}"[:MAX_MESSAGE]
    return Failure.model_validate(
        {"kind": kind, "reason": reason, "message": message, "exit_code": int(code), "rank": index}
    )
