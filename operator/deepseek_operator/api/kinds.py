"""The kinds of the API, with the names that the API server and kubectl know them by."""

from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from deepseek_operator.api.dataset import DeepSeekDataset
from deepseek_operator.api.meta import Resource
from deepseek_operator.api.model_revision import DeepSeekModelRevision
from deepseek_operator.api.model_service import DeepSeekModelService
from deepseek_operator.api.training_job import DeepSeekTrainingJob


@dataclass(frozen=True)
class PrinterColumn:
    name: str
    path: str  # JSONPath from the object
    type: str  # string | integer | date
    description: str
    wide: bool = False  # only with -o wide


@dataclass(frozen=True)
class Scale:
    """What `kubectl scale` reads and writes."""

    spec_path: str  # JSONPath of the number that is wanted
    status_path: str  # of the number there is


@dataclass(frozen=True)
class Kind:
    model: type[Resource]
    plural: str
    short_name: str
    columns: tuple[PrinterColumn, ...]
    scale: Scale | None = None

    @property
    def name(self) -> str:
        return self.model.__name__

    @property
    def singular(self) -> str:
        return self.name.lower()


_STATE: Final = PrinterColumn("State", ".status.state", "string", "The conditions in one word.")
_AGE: Final = PrinterColumn("Age", ".metadata.creationTimestamp", "date", "Time since creation.")

TRAINING_JOB: Final = Kind(
    model=DeepSeekTrainingJob,
    plural="deepseektrainingjobs",
    short_name="dsjob",
    columns=(
        _STATE,
        PrinterColumn("Step", ".status.step", "integer", "Steps done."),
        PrinterColumn("Progress", ".status.progress", "string", "Share of the steps done."),
        PrinterColumn("Loss", ".status.loss", "string", "Loss of the last step."),
        PrinterColumn("Tokens/s", ".status.tokensPerSecond", "integer", "Speed over all processes."),
        PrinterColumn("ETA", ".status.eta", "string", "Time to the end of training."),
        _AGE,
        PrinterColumn(
            "Durable", ".status.lastCheckpointStep", "integer", "Step of the newest checkpoint.", wide=True
        ),
        PrinterColumn("Restarts", ".status.restarts", "integer", "Restarts of the run.", wide=True),
        PrinterColumn("Epoch", ".status.epoch", "integer", "Writer of the commit log.", wide=True),
        PrinterColumn("Nodes", ".status.nodes", "integer", "Worker pods that the run has.", wide=True),
        PrinterColumn("Ready", ".status.pods.ready", "integer", "Worker pods that run.", wide=True),
        PrinterColumn("Backend", ".spec.backend", "string", "Ray Train or Horovod.", wide=True),
        PrinterColumn("Data-Path", ".status.dataPath", "string", "What carries gradients.", wide=True),
        PrinterColumn("Parameters", ".status.plan.parameters", "integer", "Weights of the model.", wide=True),
        PrinterColumn("Dataset", ".spec.data.sources[*].datasetRef.name", "string", "Datasets.", wide=True),
        PrinterColumn(
            "Model", ".status.export.revision", "string", "Revision of the finished model.", wide=True
        ),
    ),
    scale=Scale(spec_path=".spec.workers.numNodes", status_path=".status.nodes"),
)

DATASET: Final = Kind(
    model=DeepSeekDataset,
    plural="deepseekdatasets",
    short_name="dsdata",
    columns=(
        _STATE,
        PrinterColumn("Stage", ".status.stage", "string", "Stage in progress."),
        PrinterColumn("Progress", ".status.progress", "string", "Share of the stage done."),
        PrinterColumn("Documents", ".status.documents", "integer", "Documents of the dataset."),
        PrinterColumn("Tokens", ".status.tokens", "integer", "Tokens of the dataset."),
        PrinterColumn("Digest", ".status.shortDigest", "string", "First digits of the manifest's sha256."),
        _AGE,
        PrinterColumn("Restarts", ".status.restarts", "integer", "Restarts of the run.", wide=True),
        PrinterColumn("URI", ".status.uri", "string", "Where the dataset lies.", wide=True),
    ),
)

MODEL_REVISION: Final = Kind(
    model=DeepSeekModelRevision,
    plural="deepseekmodelrevisions",
    short_name="dsrev",
    columns=(
        _STATE,
        PrinterColumn("Model", ".spec.modelName", "string", "Name of the model over its revisions."),
        PrinterColumn("Parameters", ".spec.parameters", "integer", "Weights of the model."),
        PrinterColumn("Job", ".spec.provenance.jobRef.name", "string", "Job that made the model."),
        _AGE,
        PrinterColumn("Digest", ".spec.digest", "string", "sha256 of the export's manifest.", wide=True),
        PrinterColumn("URI", ".spec.storageUri", "string", "Where the model lies.", wide=True),
    ),
)

MODEL_SERVICE: Final = Kind(
    model=DeepSeekModelService,
    plural="deepseekmodelservices",
    short_name="dsserve",
    columns=(
        PrinterColumn("Active", ".status.active.revision", "string", "Revision that gets the requests."),
        PrinterColumn("Candidate", ".status.candidate.revision", "string", "Revision being brought up."),
        PrinterColumn("Ready", ".status.ready", "string", "Replicas that answer, of those that should."),
        PrinterColumn("URL", ".status.url", "string", "Where the API answers inside of the cluster."),
        _AGE,
        PrinterColumn("State", ".status.state", "string", "The conditions in one word.", wide=True),
        PrinterColumn("Phase", ".status.candidate.phase", "string", "How far the candidate is.", wide=True),
        PrinterColumn(
            "Digest",
            ".status.active.shortDigest",
            "string",
            "First digits of the sha256 of the active export's manifest.",
            wide=True,
        ),
        PrinterColumn(
            "Cluster",
            ".status.active.clusterId",
            "string",
            "Label deepseek.dev/cluster of its pods.",
            wide=True,
        ),
    ),
)

KINDS: Final = MappingProxyType(
    {kind.name: kind for kind in (TRAINING_JOB, DATASET, MODEL_REVISION, MODEL_SERVICE)}
)
