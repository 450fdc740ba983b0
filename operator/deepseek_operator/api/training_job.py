"""DeepSeekTrainingJob: train a model on a pool of nodes.

It does not know the rules that need arithmetic (`validation`, `plan.rules`).
"""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from deepseek_operator.api.meta import NAME_RULES, Resource
from deepseek_operator.api.model import Model
from deepseek_operator.api.monitoring import Alerts, Monitoring
from deepseek_operator.api.pods import Coordinator, RunPolicy, Workers, placement_changes_only_while_suspended
from deepseek_operator.api.schema import (
    ATOMIC_LIST,
    Image,
    SpecModel,
    immutable,
    list_map,
    rule,
    with_rules,
)
from deepseek_operator.api.storage import LocalReference, Storage
from deepseek_operator.api.training import Training
from deepseek_operator.api.training_data import Data, EvaluationSource
from deepseek_operator.api.training_job_status import TrainingJobStatus


class KeepBest(SpecModel):
    """Checkpoints that are kept for a figure of theirs."""

    metric: Annotated[
        str, StringConstraints(pattern="^[A-Za-z0-9_][A-Za-z0-9_-]*(/[A-Za-z0-9_]+)?$", max_length=80)
    ] = Field(
        description="loss, gradient_norm, learning_rate or tokens_per_second of the step; of an evaluation "
        "at the same step held_out_loss, held_out_bits_per_byte, perplexity or accuracy, with answers "
        "bleu or token_f1; NAME/loss and so on of one of evaluation.sources; with an entrypoint what it "
        "reports."
    )
    mode: Literal["min", "max"] = Field(default="min", description="Which values are better.")
    count: int = Field(default=1, ge=1, le=100, description="How many are kept.")


class Checkpoint(SpecModel):
    """What is kept to go on from. What is kept may be changed while the job runs."""

    model_config = with_rules(
        immutable("everySteps"),
        immutable("mode"),
        immutable("memoryReplicas"),
        rule(
            "!has(self.keepEvery) || self.keepEvery % self.everySteps == 0",
            "must be a multiple of everySteps: no other step has a checkpoint of its own",
            field_path=".keepEvery",
        ),
    )

    every_steps: int = Field(default=100, ge=1, le=10**9, description="Steps between two checkpoints.")
    keep_last: int = Field(default=3, ge=1, le=1000, description="Newest checkpoints that are kept.")
    keep_every: int | None = Field(
        default=None,
        ge=1,
        le=10**9,
        description="Checkpoints of steps that are a multiple of it are kept for good; absent is none.",
    )
    keep_best: KeepBest | None = Field(
        default=None, description="Beside those, the best by a figure; absent is none."
    )
    mode: Literal["async", "sync"] = Field(
        default="async",
        description="async: training goes on while a copy of the state is uploaded. sync: it waits, and "
        "needs no memory for a copy.",
    )
    memory_replicas: int = Field(
        default=0,
        ge=0,
        le=2,
        description="Worker pods whose memory holds each file of the newest checkpoint, so that processes "
        "that start again in place do not read it from the store. 1: the pod that wrote it; 2: one more. It "
        "is part of workers.resources.memory.",
    )


class Evaluation(SpecModel):
    """How the model is measured on held-out text; at the end it always is."""

    every_steps: int | None = Field(
        default=None, ge=1, le=10**9, description="Steps between two evaluations; absent is at the end only."
    )
    max_samples: int = Field(
        default=64, ge=1, le=1_000_000, description="Held-out sequences to use, and of each of sources."
    )
    answers: int | None = Field(
        default=None,
        ge=1,
        le=10_000,
        description="Held-out conversations whose last answer the model writes itself at each evaluation, "
        "for BLEU and token F1; with objective sft.",
    )
    prompts: list[Annotated[str, StringConstraints(min_length=1, max_length=1024)]] = Field(
        default_factory=list,
        max_length=8,
        description="Texts that the model continues at each evaluation.",
        json_schema_extra=ATOMIC_LIST,
    )
    sources: list[EvaluationSource] = Field(
        default_factory=list,
        max_length=4,
        description="Prepared datasets that are measured beside the held-out split, both splits of each, up "
        "to maxSamples sequences: NAME/loss, NAME/bits_per_byte, NAME/perplexity, NAME/accuracy; with "
        "answers also NAME/bleu and NAME/token_f1.",
        json_schema_extra=list_map("name"),
    )


class Rollout(SpecModel):
    """What becomes of the model."""

    service_ref: LocalReference = Field(
        description="DeepSeekModelService that considers the job's DeepSeekModelRevision."
    )


class TrainingJobSpec(SpecModel):
    """What to train, on what, where, and for how long."""

    model_config = with_rules(
        *(immutable(name) for name in ("backend", "model", "data", "training", "evaluation")),
        *(
            immutable(name)
            for name in ("monitoring", "storage", "rollout", "image", "imagePullPolicy", "imagePullSecrets")
        ),
        *placement_changes_only_while_suspended("workers"),
        *placement_changes_only_while_suspended("coordinator"),
        rule(
            "self.backend != 'horovod' || ((!has(self.training.parallelism.zeroStage)"
            " || self.training.parallelism.zeroStage == 0)"
            " && self.training.parallelism.expertParallelDegree == 1"
            " && self.training.parallelism.tensorParallelDegree == 1"
            " && self.training.parallelism.pipelineParallelDegree == 1"
            " && self.training.parallelism.contextParallelDegree == 1"
            " && self.training.parallelism.dataParallelReplicateDegree == 1)",
            "backend horovod is data-parallel only: set zeroStage 0 and every degree 1, or use backend ray",
            field_path=".backend",
        ),
        rule(
            "!has(self.checkpoint.keepBest)"
            " || has(self.evaluation.everySteps) || has(self.training.entrypoint)"
            " || !(self.checkpoint.keepBest.metric.startsWith('held_out_')"
            " || self.checkpoint.keepBest.metric == 'accuracy')",
            "is a figure of evaluations, of which there is one at the end only: set evaluation.everySteps",
            field_path=".checkpoint.keepBest.metric",
        ),
        rule(
            "self.backend == 'horovod' || !has(self.training.horovod)",
            "belongs to backend horovod: remove it, or use that backend",
            field_path=".training.horovod",
        ),
    )

    backend: Literal["ray", "horovod"] = Field(
        default="ray", description="What starts and joins the processes: Ray Train, or Horovod."
    )
    suspend: bool = Field(
        default=False, description="true: write a checkpoint and free the nodes. false: go on from it."
    )
    image: Image | None = Field(
        default=None, description="Image of the pods; absent is the operator's default worker image."
    )
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = Field(
        default="IfNotPresent", description="When nodes pull the image."
    )
    image_pull_secrets: list[LocalReference] = Field(
        default_factory=list,
        max_length=4,
        description="Secrets to pull the image with.",
        json_schema_extra=list_map("name"),
    )
    model: Model = Field(description="What is trained.")
    data: Data = Field(description="What the model reads.")
    training: Training = Field(description="How long and how to train.")
    checkpoint: Checkpoint = Field(default=Checkpoint(), description="What is kept to go on from.")
    evaluation: Evaluation = Field(default=Evaluation(), description="How the model is measured.")
    monitoring: Monitoring = Field(
        default=Monitoring(), description="What is measured beside each step's figures."
    )
    alerts: Alerts = Field(
        default=Alerts(), description="Limits of a healthy run; they may be changed while it runs."
    )
    workers: Workers = Field(default=Workers(), description="The pods that train.")
    coordinator: Coordinator = Field(default=Coordinator(), description="The pod that leads; it has no GPU.")
    storage: Storage = Field(description="Where checkpoints, metrics and the model are written.")
    run_policy: RunPolicy = Field(default=RunPolicy(), description="Limits of the run in failures and time.")
    rollout: Rollout | None = Field(default=None, description="What becomes of the model.")

    @property
    def dataset_names(self) -> frozenset[str]:
        """Of the DeepSeekDatasets that the job reads."""
        sources = (*self.data.sources, *self.evaluation.sources)
        return frozenset(source.dataset_ref.name for source in sources if source.dataset_ref)


class DeepSeekTrainingJob(Resource):
    """Trains a DeepSeek-class model on a pool of nodes: data from S3, checkpoints and the model to S3."""

    model_config = with_rules(*NAME_RULES)

    kind: Literal["DeepSeekTrainingJob"] = "DeepSeekTrainingJob"
    spec: TrainingJobSpec = Field(description="What to train, on what, where, and for how long.")
    status: TrainingJobStatus = Field(default_factory=TrainingJobStatus, description="How the job is doing.")
