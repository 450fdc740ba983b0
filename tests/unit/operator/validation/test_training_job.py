"""What is impossible is refused before any pod exists, with field, value, rule and remedy."""

from typing import Any

import pytest

from deepseek_operator.resources.run_config import PreparedDataset
from deepseek_operator.validation.training_job import training_run_of, validate_training_job
from deepseek_workloads.contract.run_config import Storage, TeacherLogitsLocation, parse_run

READY = {"docs": PreparedDataset(storage=Storage(uri="s3://corpus/docs"), digest="sha256:" + "0" * 64)}


def _tiny(**moe: Any) -> dict[str, Any]:
    return {"model": {"architecture": {"moe": moe}}}


@pytest.mark.parametrize(
    ("changes", "field", "words"),
    [
        ({"model": {"preset": "deepseek-v3-tinny"}}, "spec.model.preset", "did you mean deepseek-v3-tiny"),
        (_tiny(nRoutedExperts=7), "spec.model.architecture.moe", "divi"),
        (_tiny(numExpertsPerTok=99), "spec.model.architecture.moe.numExpertsPerTok", "at most"),
        ({"training": {"globalBatchSize": 7}}, "spec.training.globalBatchSize", "6 or 8"),
        ({"data": {"sequenceLength": 100_000}}, "spec.data.sequenceLength", "2048"),
        (
            {"training": {"parallelism": {"tensorParallelDegree": 3}}},
            "spec.training.parallelism",
            "tensorParallelDegree",
        ),
        ({"workers": {"numNodes": 4, "minNodes": 3}}, "spec.workers.minNodes", "use at most 2"),
        ({"storage": {"uri": "s3:///x"}}, "spec.storage.uri", "must name a bucket"),
        ({"model": {"vision": {"imageTokenId": 999_999}}}, "spec.model.vision.imageTokenId", "manifest"),
        ({"training": {"freeze": ["projector"]}}, "spec.training.freeze", "leave freeze away"),
        ({"storage": {"endpointUrl": "http://s3:99999"}}, "spec.storage.endpointUrl", "port"),
        (
            {"monitoring": {"mlflow": {"trackingUri": "http://mlflow:0", "experiment": "tiny"}}},
            "spec.monitoring.mlflow.trackingUri",
            "port",
        ),
        (
            {"data": {"sources": [{"name": "a", "uri": "s3://corpus/a", "endpointUrl": "http://s3:port"}]}},
            "spec.data.sources[0].endpointUrl",
            "port",
        ),
        ({"training": {"optimizer": {"learningRate": "0"}}}, "spec.training.optimizer.learningRate", "0"),
        ({"training": {"schedule": {"minRatio": "1.5"}}}, "spec.training.schedule.minRatio", "1"),
        (
            {"backend": "horovod", "training": {"parallelism": {"zeroStage": 2}}},
            "spec.training.parallelism.zeroStage",
            "must be 0 with backend horovod",
        ),
        ({"workers": {"resources": {"memory": "32Mi"}}}, "spec.workers.resources.memory", "at least"),
        (
            {
                "model": {"preset": "deepseek-v3"},
                "training": {"parallelism": {"zeroStage": 3}},
                "workers": {
                    "numNodes": 1,
                    "numProcPerNode": 8,
                    "resources": {"gpu": 8, "memory": "1Ti"},
                    "nodeSelector": {"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"},
                },
            },
            "spec.workers.nodeSelector[nvidia.com/gpu.product]",
            "such a GPU has",
        ),
        (
            {"model": {"initFrom": {"storageUri": "s3:///x"}}},
            "spec.model.initFrom.storageUri",
            "must name a bucket",
        ),
        (
            {"training": {"entrypoint": "my.code:train"}, "rollout": {"serviceRef": {"name": "chat"}}},
            "spec.rollout",
            "a model revision, which is not made",
        ),
        (
            {"training": {"distillation": {"teacherLogits": {"uri": "s3:///x"}}}},
            "spec.training.distillation.teacherLogits.uri",
            "must name a bucket",
        ),
        (
            {"model": {"function": "my.code:build"}, "rollout": {"serviceRef": {"name": "chat"}}},
            "spec.rollout",
            "only the code of my.code:build computes",
        ),
        (
            {
                "model": {
                    "preset": "transformer-5m",
                    "architecture": {"attention": {"kind": "lsh", "numBuckets": 8, "numHashes": 2}},
                },
                "rollout": {"serviceRef": {"name": "chat"}},
            },
            "spec.rollout",
            "attention.kind is lsh, which the serving engine does not decode",
        ),
        (
            {
                "model": {"function": "my.code:build"},
                "training": {"parallelism": {"expertParallelDegree": 2}},
            },
            "spec.training.parallelism.expertParallelDegree",
            "must be 1 with spec.model.function",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) and value.startswith("spec") else None,
)
def test_impossible_jobs_are_refused(make_job: Any, changes: dict[str, Any], field: str, words: str) -> None:
    problems = validate_training_job(make_job(changes), worker_image="worker")
    assert [problem for problem in problems if problem.field.startswith(field) and words in str(problem)]
    assert all(problem.remedy and problem.reason for problem in problems)


def test_a_job_with_an_entrypoint_may_leave_everything_else_to_its_defaults(make_job: Any) -> None:
    job = make_job({"training": {"entrypoint": "my.code:train"}})
    assert validate_training_job(job, worker_image="worker") == []


def test_a_possible_job_has_no_problems(make_job: Any) -> None:
    assert validate_training_job(make_job(), worker_image="worker") == []


def test_a_source_with_a_bad_uri_is_named_by_its_index(make_job: Any) -> None:
    sources = [{"name": "a", "datasetRef": {"name": "docs"}}, {"name": "b", "uri": "corpus/b"}]
    (problem,) = validate_training_job(make_job({"data": {"sources": sources}}), worker_image="worker")
    assert problem.field == "spec.data.sources[1].uri"


_CLAIM = {"uri": "pvc://runs/tiny", "endpointUrl": "http://s3:9000"}
_TAUGHT = {"distillation": {"teacherLogits": {"uri": "gs://data/taught"}, "alpha": "0.5"}}


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"training": _TAUGHT}, "spec.training.distillation.teacherLogits.uri"),
        ({"data": {"sources": [{"name": "a", "uri": "gs://corpus/a"}]}}, "spec.data.sources[0].uri"),
        (
            {
                "storage": _CLAIM,
                "data": {"sources": [{"name": "a", "uri": "s3://corpus/a"}]},
                "evaluation": {"sources": [{"name": "b", "uri": "gs://corpus/b"}]},
            },
            "spec.evaluation.sources[0].uri",
        ),
    ],
    ids=["stored logits", "beside a bucket", "beside a claim"],
)
def test_what_the_jobs_endpoint_cannot_have_is_refused(
    make_job: Any, spec: dict[str, Any], field: str
) -> None:
    spec = {"storage": {"uri": "s3://models/tiny", "endpointUrl": "http://s3:9000"}} | spec
    (problem,) = validate_training_job(make_job(spec), worker_image="worker")
    assert problem.field == field
    assert "same kind of storage as s3://" in problem.rule


def test_azure_without_a_secret_that_names_the_account_is_refused(make_job: Any) -> None:
    source = {"name": "a", "uri": "az://corpus/a"}
    azure = {"data": {"sources": [source]}, "storage": {"endpointUrl": None}}
    assert validate_training_job(make_job(azure), worker_image="worker") == []
    without = make_job(azure | {"storage": {"endpointUrl": None, "secretRef": None}})
    (problem,) = validate_training_job(without, worker_image="worker")
    assert (problem.field, problem.reason) == ("spec.storage.secretRef", "MissingStorageAccount")
    assert "spec.data.sources[0].uri" in problem.rule
    assert "AZURE_STORAGE_ACCOUNT_NAME" in problem.remedy


def test_without_any_image_the_job_is_refused(make_job: Any) -> None:
    (problem,) = validate_training_job(make_job(), worker_image="")
    assert (problem.field, problem.reason) == ("spec.image", "NoImage")


def test_horovod_without_an_image_of_its_own_is_refused(make_job: Any) -> None:
    (problem,) = validate_training_job(make_job({"backend": "horovod"}), worker_image="")
    assert (problem.field, problem.reason) == ("spec.image", "NoImage")
    assert "worker.horovodImage" in problem.remedy


def test_an_own_image_needs_no_default(make_job: Any) -> None:
    assert validate_training_job(make_job({"image": "registry/worker:1"}), worker_image="") == []


def test_all_problems_are_told_at_once(make_job: Any) -> None:
    job = make_job({"storage": {"uri": "s3:///x"}, "model": {"preset": "no-such"}})
    fields = {problem.field for problem in validate_training_job(job, worker_image="worker")}
    assert fields == {"spec.storage.uri", "spec.model.preset"}


def test_what_sees_images_is_part_of_the_run(make_job: Any) -> None:
    vision = {
        "imageTokenId": 2,
        "imageSize": 112,
        "hiddenSize": 192,
        "numAttentionHeads": 3,
        "imageStd": ["0.2", "0.3", "0.4"],
        "initFrom": {"storageUri": "s3://models/vit"},
    }
    changes = {"model": {"vision": vision}, "training": {"objective": "sft", "freeze": ["visionTower"]}}
    job = make_job(changes)
    assert validate_training_job(job, worker_image="worker") == []
    run = training_run_of(job, datasets=READY)
    assert run.architecture.vision is not None
    assert run.architecture.vision.hidden_size == 192
    assert run.architecture.vision.image_std == (0.2, 0.3, 0.4)
    assert run.architecture.vision.num_patches == 49
    assert run.vision_init_from is not None
    assert run.vision_init_from.uri == "s3://models/vit"
    assert run.training.freeze == ["visionTower"]
    assert parse_run(run.to_json()) == run


def test_the_run_config_is_resolved(make_job: Any) -> None:
    run = training_run_of(make_job(), datasets=READY)
    assert run.architecture.hidden_size == 128
    assert run.data.sources[0].storage.uri == "s3://corpus/docs"
    assert run.data.sources[0].digest == READY["docs"].digest
    assert run.workers.memory_bytes == 3 * 2**30
    assert run.training.precision == "fp32"
    assert parse_run(run.to_json()) == run


@pytest.mark.parametrize(("backend", "stage"), [("ray", 2), ("horovod", 0)])
def test_an_absent_zero_stage_is_what_the_backend_can_do(make_job: Any, backend: str, stage: int) -> None:
    job = make_job({"backend": backend})
    assert validate_training_job(job, worker_image="worker") == []
    run = training_run_of(job, datasets=READY)
    assert (run.backend, run.training.parallelism.zero_stage) == (backend, stage)


def test_a_given_zero_stage_stays(make_job: Any) -> None:
    job = make_job({"training": {"parallelism": {"zeroStage": 0}}})
    assert training_run_of(job, datasets=READY).training.parallelism.zero_stage == 0


def test_horovods_compression_reaches_the_run(make_job: Any) -> None:
    job = make_job({"backend": "horovod", "training": {"horovod": {"compression": "fp16"}}})
    horovod = training_run_of(job, datasets=READY).training.horovod
    assert horovod is not None
    assert horovod.compression == "fp16"


def test_overrides_are_laid_over_the_preset(make_job: Any) -> None:
    overrides = {"qLoraRank": 0, "moe": {"nRoutedExperts": 16, "routedScalingFactor": "1.5"}}
    run = training_run_of(make_job({"model": {"architecture": overrides}}), datasets=READY)
    assert run.architecture.q_lora_rank is None
    assert (run.architecture.moe.n_routed_experts, run.architecture.moe.routed_scaling_factor) == (16, 1.5)
    assert run.architecture.moe.num_experts_per_tok == 2


def test_gpus_make_auto_precision_bf16(make_job: Any) -> None:
    job = make_job({"workers": {"resources": {"gpu": 1}}})
    assert training_run_of(job, datasets=READY).training.precision == "bf16"


@pytest.mark.parametrize(("tokens", "steps"), [(1, 1), (1024, 1), (1025, 2), (10_240, 10)])
def test_tokens_become_whole_steps(make_job: Any, tokens: int, steps: int) -> None:
    job = make_job({"training": {"steps": None, "tokens": tokens}})
    assert training_run_of(job, datasets=READY).training.steps == steps


def test_a_source_by_uri_takes_the_jobs_endpoint(make_job: Any) -> None:
    job = make_job({"data": {"sources": [{"name": "web", "uri": "s3://corpus/web"}]}})
    (source,) = training_run_of(job, datasets={}).data.sources
    assert source.storage.endpoint_url == "http://s3.storage.svc:7070"
    assert source.digest is None


def test_the_run_config_holds_no_secret_and_no_secret_name(make_job: Any) -> None:
    assert b"s3-credentials" not in training_run_of(make_job(), datasets=READY).to_json()


def test_equal_jobs_give_equal_run_configs(make_job: Any) -> None:
    first, second = (training_run_of(make_job(), datasets=READY).to_json() for _ in range(2))
    assert first == second


def test_suspending_changes_nothing_in_the_run_config(make_job: Any) -> None:
    running, suspended = (
        training_run_of(make_job({"suspend": each}), datasets=READY).to_json() for each in (False, True)
    )
    assert running == suspended


def test_the_order_of_samples_is_in_the_run_config_and_schedules_count_samples(make_job: Any) -> None:
    data = {
        "sequenceLength": 512,
        "mixture": {
            "schedule": [
                {"atSamples": 100, "weights": {"docs": "0.5"}},
                {"atTokens": 100_001, "weights": {"docs": "1"}},
            ]
        },
        "skip": [{"fromSample": 64, "toSample": 128}],
        "documentMask": True,
    }
    job = make_job({"data": data})
    assert validate_training_job(job, worker_image="worker") == []
    run = training_run_of(job, datasets=READY)
    assert [(stage.at_sample, stage.weights) for stage in run.data.mixture or []] == [
        (100, {"docs": 0.5}),
        (196, {"docs": 1.0}),  # of 512 tokens, the first that begins at or after that token
    ]
    assert [(skipped.from_sample, skipped.to_sample) for skipped in run.data.skip or []] == [(64, 128)]
    assert run.data.document_mask
    assert parse_run(run.to_json()) == run


def test_stored_logits_are_read_from_the_jobs_service_and_there_is_no_teacher(make_job: Any) -> None:
    taught = {"teacherLogits": {"uri": "s3://data/docs/taught"}, "alpha": "0.5"}
    job = make_job({"training": {"distillation": taught}, "storage": {"endpointUrl": "http://s3:9000"}})
    assert validate_training_job(job, worker_image="worker") == []
    distillation = training_run_of(job, datasets=READY).training.distillation
    assert distillation is not None
    assert (distillation.teacher, distillation.alpha) == (None, 0.5)
    assert distillation.teacher_logits == TeacherLogitsLocation(
        uri="s3://data/docs/taught", endpoint_url="http://s3:9000"
    )


@pytest.mark.parametrize(
    ("spec", "field", "remedy"),
    [
        ({"training": {"schedule": {"minRatio": "2"}}}, "spec.training.schedule.minRatio", "use at most 1"),
        (
            {"data": {"mixture": {"schedule": [{"atSamples": 9, "weights": {}}]}}},
            "spec.data.mixture.schedule[0].weights",
            "give at least 1",
        ),
    ],
)
def test_the_remedy_of_a_bound_is_the_bound_and_the_path_is_the_resources(
    make_job: Any, spec: dict[str, Any], field: str, remedy: str
) -> None:
    found = [(p.field, p.remedy) for p in validate_training_job(make_job(spec), worker_image="worker")]
    assert (field, remedy) in [(field, words.removesuffix(".0")) for field, words in found]


def test_a_preset_like_none_is_told_the_names_once(make_job: Any) -> None:
    job = make_job({"model": {"preset": "nosuch"}})
    (problem,) = validate_training_job(job, worker_image="worker")
    assert problem.remedy == "use one of them"


def test_stricter_rules_end_no_job_whose_run_config_has_to_be_written_again(make_job: Any) -> None:
    job = make_job({"workers": {"numNodes": 4, "minNodes": 3}, "alerts": {"memory": {"threshold": "90"}}})
    assert validate_training_job(job, worker_image="worker:1") != []
    status = job.status.model_copy(update={"run_config_digest": "sha256:" + "0" * 64})
    assert validate_training_job(job.model_copy(update={"status": status}), worker_image="worker:1") == []
