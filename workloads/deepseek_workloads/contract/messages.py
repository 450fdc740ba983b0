"""What pods of one run say to each other and to the operator: progress, control, reports, the verdict.

Progress and reports are for display; the verdict (the container's termination message) decides.
"""

from typing import Literal

from pydantic import Field

from deepseek_workloads.contract.monitoring import AlertAction, AlertKind, Alerts
from deepseek_workloads.contract.retention import Retention
from deepseek_workloads.contract.wire import TolerantWireModel

MAX_PROGRESS_BYTES = 16 * 1024
MAX_VERDICT_BYTES = 4 * 1024  # the kubelet's limit of a termination message

Phase = Literal[
    "Preflight",
    "WaitingForWorkers",
    "Starting",
    "Training",
    "Evaluating",
    "Exporting",
    "Preparing",
    "Checking",
    "Serving",
    "Stopping",
    "Done",
]


class RankHeartbeat(TolerantWireModel):
    rank: int
    pod: str = ""
    step: int = 0
    age_seconds: float = 0.0


class StageProgress(TolerantWireModel):
    """Of a dataset: shards done of one stage."""

    name: str
    done: int = 0
    total: int = 0


class CheckpointSummary(TolerantWireModel):
    step: int
    epoch: int
    created_at: str
    size_bytes: int = 0
    log_index: int = 0


class AlertSummary(TolerantWireModel):
    """One step that looked bad."""

    kind: AlertKind
    action: AlertAction
    step: int
    message: str


class ServingProgress(TolerantWireModel):
    """Of a serving run. A check that failed is no progress: it ends the run with a verdict."""

    replicas: int = 0  # wanted: one a worker pod that has joined
    ready_replicas: int = 0
    checked: bool = False  # digest, prompts, finite logits, bits per byte: the revision may get requests
    bits_per_byte: float | None = None  # on the held-out text of its own export
    bits_per_byte_on_baseline: float | None = None  # on the active revision's
    requests: int = 0  # answered since the start, by all replicas
    running: int = 0
    queued: int = 0


class Progress(TolerantWireModel):
    """`GET /progress` of the coordinator: size-limited, display only."""

    phase: Phase = "Preflight"
    message: str = ""
    epoch: int = 0
    restarts: int = 0  # of the driver, in this pod
    failures: int = 0  # restarts that count against backoffLimit
    last_failure: str = ""
    step: int = 0
    total_steps: int = 0
    tokens: int = 0
    loss: float | None = None
    learning_rate: float | None = None
    gradient_norm: float | None = None
    tokens_per_second: float | None = None
    micro_batch_size: int | None = None  # sequences of a pass, where it was found and not planned
    eta_seconds: int | None = None
    evaluation: dict[str, float] = Field(default_factory=dict)
    goodput: dict[str, float] = Field(default_factory=dict)  # seconds by part
    checkpoints: list[CheckpointSummary] = Field(default_factory=list, max_length=10)
    warnings: list[str] = Field(
        default_factory=list, max_length=8
    )  # e.g. a checkpoint that had to be skipped
    alerts: list[AlertSummary] = Field(default_factory=list, max_length=8)  # of the last steps, newest last
    ranks: list[RankHeartbeat] = Field(default_factory=list, max_length=64)
    stages: list[StageProgress] = Field(default_factory=list, max_length=128)
    control_generation: int = 0  # the newest control seen by every rank
    desired_state: Literal["Running", "Stopped"] = "Running"  # of the control that the coordinator holds
    data_path: Literal["gloo", "nccl", ""] = ""
    serving: ServingProgress | None = None


class Control(TolerantWireModel):
    """`POST /control`: the desired state, pushed again until seen. A lower generation is ignored."""

    generation: int = 0
    desired_state: Literal["Running", "Stopped"] = "Running"  # Stopped: checkpoint, then exit 0
    checkpoint_request: int = 0  # grows by one for each checkpoint wanted now
    dump_stacks_request: int = 0
    alerts: Alerts | None = None  # None: those of the run config
    retention: Retention | None = None  # likewise


class Failure(TolerantWireModel):
    """Why a group of ranks (or the driver) ended before its work was done."""

    kind: Literal["lost", "try-again", "failed", "final"]
    """lost: a pod or node went away, or is being drained; try-again: storage or a peer was lost (neither
    counts); failed: counts against backoffLimit; final: never retried."""
    reason: str  # CamelCase
    message: str = ""
    exit_code: int = 1
    rank: int | None = None


class Report(TolerantWireModel):
    """`POST /report`: from a rank (or a dataset task) to its coordinator; the answer is the current Control.

    Fields that a rank does not know are left out; the coordinator merges rank 0's into `Progress`. A rank of
    -1 is the driver, which is no member of the group.
    """

    rank: int = 0
    pod: str = ""
    attempt: int = 0  # of the driver that started the rank; a straggler's report is not taken
    step: int = 0
    control_generation: int = 0
    progress: Progress | None = None  # from rank 0 or the driver only
    failure: Failure | None = None  # from the driver only: the group ended, and starts again if it may


class DriftVerdict(TolerantWireModel):
    """The termination message of a drift check: how new raw data differ from what a dataset was made of."""

    outcome: Literal["Compared", "NothingNew", "TooFewDocuments", "Failed"]
    reason: str = ""  # CamelCase, of a failure
    message: str = ""
    new_objects: int = 0
    documents: int = 0  # of the sample
    divergences: dict[str, float] = Field(default_factory=dict)  # PSI by feature

    def to_termination_message(self) -> bytes:
        """Below MAX_VERDICT_BYTES, whatever the message's characters are."""
        return self.model_copy(update={"message": self.message[: MAX_VERDICT_BYTES // 8]}).to_json()


class Verdict(TolerantWireModel):
    """The coordinator's termination message, and with it the outcome of the run."""

    outcome: Literal["Succeeded", "Failed", "Stopped", "Retry"]
    reason: str  # CamelCase
    message: str = ""
    exit_code: int = 0
    epoch: int = 0
    step: int = 0
    tokens: int = 0
    loss: float | None = None  # as rank 0 last told them
    tokens_per_second: float | None = None
    consumed_samples: int = 0
    checkpoint_prefix: str = ""
    checkpoint_step: int | None = None  # of the newest checkpoint
    digest: str = ""  # of the export, or of the dataset manifest
    uri: str = ""  # of the export, or of the dataset
    evaluation: dict[str, float] = Field(default_factory=dict)
    statistics: dict[str, float] = Field(default_factory=dict)  # of a dataset
    report_digest: str = ""  # of a dataset: sha256 of its report.json

    def to_termination_message(self) -> bytes:
        """At most MAX_VERDICT_BYTES of JSON: the message is cut, never the facts."""
        document = self.to_json()
        excess = len(document) - MAX_VERDICT_BYTES
        if excess <= 0:
            return document
        kept = self.message.encode()[: max(0, len(self.message.encode()) - excess - 64)].decode(
            errors="ignore"
        )
        return self.model_copy(update={"message": kept + " ... (cut)"}).to_json()
