"""Against a real file store and an in-process S3 server: each bad input has its own reason and remedy."""

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import boto3
import pytest

from deepseek_workloads.contract import reasons
from deepseek_workloads.contract.architecture import Attention, HeadGate, Indexer
from deepseek_workloads.contract.digest import sha256_digest
from deepseek_workloads.contract.exit_codes import ExitCode
from deepseek_workloads.contract.objective import Quantisation
from deepseek_workloads.contract.pipeline import Decontaminate, PipelineStage, RedactPii
from deepseek_workloads.contract.recipe import recipe_of
from deepseek_workloads.contract.records import DatasetManifest, ExportManifest, Provenance, Shard
from deepseek_workloads.contract.run_config import (
    Data,
    DatasetRun,
    Distillation,
    InitialExport,
    Owner,
    RawSource,
    Schedule,
    Source,
    Storage,
    TokenizerTraining,
    Training,
    TrainingRun,
    Workers,
)
from deepseek_workloads.launch.epochs import epoch_beginner
from deepseek_workloads.launch.initial_model import teacher_problems
from deepseek_workloads.launch.preflight import main, preflight, verdict_of
from deepseek_workloads.plan.hugging_face_config import config_json
from deepseek_workloads.plan.presets import PRESETS
from deepseek_workloads.plan.rules import check_memory
from deepseek_workloads.store.interface import NotFound, StoreUnavailable
from deepseek_workloads.store.log import CommitLog
from deepseek_workloads.store.open import open_store
from deepseek_workloads.store.retry import RetryPolicy
from local_object_store.in_process import in_process_server

KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
QUICK = partial(open_store, environ=KEYS, retry=RetryPolicy(attempts=2, base_seconds=0.001))
ARCHITECTURE = PRESETS["deepseek-v3-tiny"]
OWNER = Owner(namespace="research", name="tiny", uid="uid-1")


def write_dataset(storage: Storage, **changes: object) -> str:
    """A shard of a thousand tokens and its manifest. Returns its digest."""
    store = QUICK(storage)  # file://: there is nothing to close
    store.put("data/a/train-0.bin", bytes(2000))
    shard = Shard(
        key="data/a/train-0.bin",
        dtype="uint16",
        tokens=1000,
        documents=1,
        size=2000,
        chunk_tokens=1000,
        chunk_checksums=["xxh3-64:0"],
        document_offsets_key="data/a/train-0.offsets",
        document_offsets_checksum="xxh3-64:0",
    )
    fields: dict[str, object] = {
        "tokenizer_key": "tokenizer.json",
        "tokenizer_digest": sha256_digest(b""),
        "vocab_size": ARCHITECTURE.vocab_size,
        "eos_token_id": 0,
        "train": [shard],
        "held_out": [],
        "statistics": {},
        **changes,
    }
    document = DatasetManifest.model_validate(fields).to_json()
    store.put("manifest.json", document)
    return sha256_digest(document)


MakeRun = Callable[..., TrainingRun]


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """A run that may start; keyword arguments change its storage or its data."""
    dataset = Storage(uri=f"file://{tmp_path}/dataset")
    digest = write_dataset(dataset)

    def make(
        *,
        storage: Storage | None = None,
        source: Storage = dataset,
        digest: str | None = digest,
        length: int = 64,
    ) -> TrainingRun:
        return TrainingRun(
            owner=OWNER,
            architecture=ARCHITECTURE,
            data=Data(sources=[Source(name="docs", storage=source, digest=digest)], sequence_length=length),
            training=Training(steps=10, global_batch_size=4),
            workers=Workers(num_nodes=2),
            storage=storage or Storage(uri=f"file://{tmp_path}/run"),
        )

    return make


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
    with in_process_server() as endpoint:
        boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1", **keys).create_bucket(
            Bucket="models"
        )
        yield endpoint


def only_reason(run: TrainingRun | DatasetRun) -> str:
    (refusal,) = preflight(run, QUICK)
    return refusal.reason


def test_a_run_with_all_its_inputs_may_start(make_run: MakeRun) -> None:
    assert preflight(make_run(), QUICK) == []


def test_a_run_on_s3_may_start_and_leaves_nothing_behind(make_run: MakeRun, s3: str) -> None:
    storage = Storage(uri="s3://models/tiny", endpoint_url=s3)
    assert preflight(make_run(storage=storage), QUICK) == []
    with closing(QUICK(storage)) as store:
        assert list(store.list("")) == []


def test_documents_are_not_told_apart_without_their_index(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run()
    run = run.model_copy(update={"data": run.data.model_copy(update={"document_mask": True})})
    (refusal,) = preflight(run, QUICK)
    assert refusal.reason == "ObjectNotFound"
    assert "train-0.offsets: does not exist: spec.data.documentMask needs this index" in refusal.message
    QUICK(Storage(uri=f"file://{tmp_path}/dataset")).put("data/a/train-0.offsets", bytes(8))
    assert preflight(run, QUICK) == []


# ---- storage


def test_an_image_without_horovod(make_run: MakeRun) -> None:
    assert only_reason(make_run().model_copy(update={"backend": "horovod"})) == reasons.HOROVOD_MISSING


def test_an_image_with_horovod(make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "image" / "horovod").mkdir(parents=True)
    monkeypatch.syspath_prepend(tmp_path / "image")
    assert preflight(make_run().model_copy(update={"backend": "horovod"}), QUICK) == []


@pytest.mark.parametrize(
    ("entrypoint", "found"),
    [
        ("loud.code:train", True),
        ("loud.inner.code:train", True),
        ("loud:train", True),
        ("loud.elsewhere:train", False),
        ("loud.code.beyond:train", False),
        ("silent.code:train", False),
    ],
)
def test_the_module_of_an_entrypoint_is_looked_for_and_not_imported(
    make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, entrypoint: str, found: bool
) -> None:
    (tmp_path / "image/loud/inner").mkdir(parents=True)
    for name in ("__init__.py", "code.py", "inner/code.py"):  # inner is a namespace
        (tmp_path / "image/loud" / name).write_text("raise RuntimeError('no CUDA here')")
    monkeypatch.syspath_prepend(tmp_path / "image")
    run = make_run()
    training = run.training.model_copy(update={"entrypoint": entrypoint})
    problems = [refusal.reason for refusal in preflight(run.model_copy(update={"training": training}), QUICK)]
    assert problems == ([] if found else [reasons.INVALID_RUN_CONFIG])


def test_modules_of_a_loss_and_an_optimizer_are_looked_for_too(make_run: MakeRun) -> None:
    run = make_run()
    optimizer = run.training.optimizer.model_copy(update={"function": "silent.code:optimizer"})
    own = {"loss_function": "silent.code:loss", "optimizer": optimizer}
    run = run.model_copy(update={"training": run.training.model_copy(update=own)})
    messages = [refusal.message for refusal in preflight(run, QUICK)]
    assert [message.partition(":")[0] for message in messages] == [
        "spec.training.lossFunction",
        "spec.training.optimizer.function",
    ]


def test_a_bucket_that_does_not_exist(make_run: MakeRun, s3: str) -> None:
    storage = Storage(uri="s3://no-such-bucket/tiny", endpoint_url=s3)
    assert only_reason(make_run(storage=storage)) == reasons.BUCKET_NOT_FOUND


def test_a_uri_without_a_bucket(make_run: MakeRun) -> None:
    assert only_reason(make_run(storage=Storage(uri="s3://"))) == reasons.INVALID_RUN_CONFIG


def test_a_store_that_is_not_there_may_come_back(make_run: MakeRun) -> None:
    storage = Storage(uri="s3://models/tiny", endpoint_url="http://127.0.0.1:9")
    (refusal,) = preflight(make_run(storage=storage), QUICK)
    assert refusal.reason == reasons.STORE_UNREACHABLE
    assert refusal.transient


# ---- data


def test_a_dataset_that_is_not_there(make_run: MakeRun, tmp_path: Path) -> None:
    source = Storage(uri=f"file://{tmp_path}/nowhere")
    assert only_reason(make_run(source=source)) == reasons.OBJECT_NOT_FOUND


def test_a_dataset_that_is_another_one_than_was_meant(make_run: MakeRun) -> None:
    (refusal,) = preflight(make_run(digest=f"sha256:{'0' * 64}"), QUICK)
    assert refusal.reason == reasons.DATASET_DIGEST_MISMATCH
    assert "spec.data.sources[0] 'docs'" in refusal.message


def test_a_tokenizer_that_is_larger_than_the_vocabulary(make_run: MakeRun, tmp_path: Path) -> None:
    source = Storage(uri=f"file://{tmp_path}/large")
    digest = write_dataset(source, vocab_size=ARCHITECTURE.vocab_size + 1)
    (refusal,) = preflight(make_run(source=source, digest=digest), QUICK)
    assert refusal.reason == reasons.TOKENIZER_TOO_LARGE
    assert f"at least {ARCHITECTURE.vocab_size + 1}" in refusal.message


def test_an_evaluation_set_is_looked_at_before_it_is_first_needed(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run()
    missing = Source(name="exams", storage=Storage(uri=f"file://{tmp_path}/exams"))
    evaluation = run.evaluation.model_copy(update={"sources": [missing]})
    (refusal,) = preflight(run.model_copy(update={"evaluation": evaluation}), QUICK)
    assert "spec.evaluation.sources[0] 'exams'" in refusal.message


def test_a_shard_that_was_deleted(make_run: MakeRun, tmp_path: Path) -> None:
    (tmp_path / "dataset/data/a/train-0.bin").unlink()
    (refusal,) = preflight(make_run(), QUICK)
    assert refusal.reason == reasons.OBJECT_NOT_FOUND
    assert "data/a/train-0.bin" in refusal.message


def test_a_shard_that_was_cut(make_run: MakeRun, tmp_path: Path) -> None:
    (tmp_path / "dataset/data/a/train-0.bin").write_bytes(bytes(10))
    (refusal,) = preflight(make_run(), QUICK)
    assert refusal.reason == reasons.DATASET_INVALID
    assert "10 bytes" in refusal.message


def test_a_dataset_that_is_shorter_than_one_sample(make_run: MakeRun) -> None:
    assert only_reason(make_run(length=4096)) == reasons.EMPTY_DATASET


# ---- what lies in the storage already


@pytest.mark.parametrize(
    ("architecture", "refused"),
    [(ARCHITECTURE, []), (PRESETS["deepseek-v3-tiny"].model_copy(update={"num_hidden_layers": 1}), [True])],
)
def test_a_run_goes_on_only_from_checkpoints_of_its_own_model(
    make_run: MakeRun, architecture: object, refused: list[bool]
) -> None:
    run = make_run()
    writer = CommitLog(QUICK(run.storage)).begin_epoch(run_config_digest="")
    digest = sha256_digest(architecture.to_json())  # type: ignore[attr-defined]
    writer.commit_checkpoint(
        step=7, consumed_samples=28, tokens=1792, prefix="data/x/", files=[], architecture_digest=digest
    )
    found = preflight(run, QUICK)
    assert [refusal.reason == reasons.CHECKPOINT_MISMATCH for refusal in found] == refused


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, None),
        ({"workers": Workers(num_nodes=5)}, None),
        ({"owner": OWNER.model_copy(update={"uid": "uid-2"})}, None),  # applied again after a delete
        ({"training": Training(steps=12, global_batch_size=4)}, "training.steps: 10 there, 12 here"),
        ({"data": 17}, "data.seed: 0 there, 17 here"),
        (
            {"training": Training(steps=10, global_batch_size=4, quantisation=Quantisation(bits=4))},
            "training.quantisation: None there",
        ),
    ],
)
def test_a_run_goes_on_only_from_checkpoints_of_its_own_recipe(
    make_run: MakeRun, change: dict[str, object], expected: str | None
) -> None:
    earlier = make_run()
    document = earlier.to_json().decode()
    writer = epoch_beginner(document, earlier, term=[1])(CommitLog(QUICK(earlier.storage)))
    writer.commit_checkpoint(step=7, consumed_samples=28, tokens=1792, prefix="data/x/", files=[])
    if "data" in change:
        change = {"data": earlier.data.model_copy(update={"seed": change["data"]})}
    found = preflight(earlier.model_copy(update=change), QUICK)
    assert [(refusal.reason, expected in refusal.message) for refusal in found if expected] == (
        [(reasons.CHECKPOINT_MISMATCH, True)] if expected else []
    )
    assert len(found) == (expected is not None)


def test_a_checkpoint_of_an_older_version_is_of_a_run_without_what_is_new(make_run: MakeRun) -> None:
    earlier = make_run()
    recipe = recipe_of(earlier)
    del recipe["data"]["longConversations"]
    writer = CommitLog(QUICK(earlier.storage)).begin_epoch(run_config_digest="", recipe=recipe)
    writer.commit_checkpoint(step=7, consumed_samples=28, tokens=1792, prefix="data/x/", files=[])
    data = earlier.data.model_copy(update={"long_conversations": "drop"})
    (refusal,) = preflight(earlier.model_copy(update={"data": data}), QUICK)
    assert refusal.reason == reasons.CHECKPOINT_MISMATCH
    assert "data.longConversations: None there, drop here" in refusal.message
    assert preflight(earlier, QUICK) == []


def test_a_model_to_start_from_that_is_not_there(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run().model_copy(update={"init_from": InitialExport(uri=f"file://{tmp_path}/nowhere")})
    (refusal,) = preflight(run, QUICK)
    assert refusal.reason == reasons.OBJECT_NOT_FOUND
    assert "spec.model.initFrom" in refusal.message


def test_a_constant_learning_rate_may_go_on_for_longer(make_run: MakeRun) -> None:
    training = Training(steps=10, global_batch_size=4, schedule=Schedule(name="constant"))
    earlier = make_run().model_copy(update={"training": training})
    writer = epoch_beginner("", earlier, term=[1])(CommitLog(QUICK(earlier.storage)))
    writer.commit_checkpoint(step=7, consumed_samples=28, tokens=1792, prefix="data/x/", files=[])
    longer = training.model_copy(update={"steps": 12})
    assert preflight(earlier.model_copy(update={"training": longer}), QUICK) == []


WriteExport = Callable[..., InitialExport]


@pytest.fixture
def write_export(provenance: Provenance) -> WriteExport:
    def write(folder: Path, *, tokenizer: bytes = b"", **changes: object) -> InitialExport:
        """`changes` of the architecture."""
        storage = InitialExport(uri=f"file://{folder}/export")
        store = QUICK(storage)
        architecture = ARCHITECTURE.model_copy(update=changes)
        store.put("config.json", json.dumps(config_json(architecture)).encode())
        store.put("tokenizer.json", tokenizer)
        store.put("manifest.json", ExportManifest(files=[], provenance=provenance, parameters=1).to_json())
        return storage

    return write


@pytest.mark.parametrize(
    ("export", "expected"),
    [
        ({}, []),
        ({"hidden_size": 8}, ["hiddenSize: 8 there"]),
        ({"q_lora_rank": None}, ["qLoraRank: None there, 96 here"]),
        ({"moe": None}, ["moe: None there"]),
        (
            {"attention": Attention(head_gate=HeadGate())},
            ["attention.headGate: {'penaltyWeight': 0.01} there"],
        ),
        ({"tokenizer": b"another"}, ["spec.tokenizer.uri"]),
    ],
)
def test_a_run_starts_from_a_model_of_its_architecture_and_its_datasets_tokenizer(
    write_export: WriteExport, make_run: MakeRun, tmp_path: Path, export: dict[str, Any], expected: list[str]
) -> None:
    run = make_run().model_copy(update={"init_from": write_export(tmp_path, **export)})
    found = preflight(run, QUICK)
    assert [refusal.reason for refusal in found] == [reasons.CHECKPOINT_MISMATCH] * len(expected)
    assert all(words in refusal.message for words, refusal in zip(expected, found, strict=True))


def test_sizes_of_attention_may_be_written_out_or_left_to_follow_from_others(
    write_export: WriteExport, make_run: MakeRun, tmp_path: Path
) -> None:
    short = Attention(kind="lsh")  # of no class that writes them out
    heads = ARCHITECTURE.num_attention_heads
    long = short.model_copy(
        update={"num_key_value_heads": heads, "head_dim": ARCHITECTURE.hidden_size // heads}
    )
    architecture = ARCHITECTURE.model_copy(update={"attention": long})
    run = make_run().model_copy(
        update={"init_from": write_export(tmp_path, attention=short), "architecture": architecture}
    )
    assert preflight(run, QUICK) == []


def test_a_model_to_start_from_is_the_one_that_was_recorded(
    write_export: WriteExport, make_run: MakeRun, tmp_path: Path
) -> None:
    storage = write_export(tmp_path)
    digest = sha256_digest((tmp_path / "export/manifest.json").read_bytes())
    recorded = storage.model_copy(update={"digest": digest})
    run = make_run().model_copy(update={"init_from": recorded})
    assert preflight(run, QUICK) == []
    other = recorded.model_copy(update={"digest": "sha256:" + "0" * 64})
    (refusal,) = preflight(run.model_copy(update={"init_from": other}), QUICK)
    assert refusal.reason == reasons.CHECKPOINT_MISMATCH
    assert digest in refusal.message


GQA = Attention(kind="gqa", num_key_value_heads=2, head_dim=32)


@pytest.mark.parametrize(
    ("objective", "teacher", "expected"),
    [
        ("sft", {}, []),
        ("sft", {"attention": GQA}, ["its attention gqa would mix the documents of a row"]),
        ("sft", {"indexer": Indexer(index_head_dim=16)}, ["its attention mla with an indexer would mix"]),
        ("pretrain", {"attention": GQA}, []),
        ("documentMask", {"attention": GQA}, ["its attention gqa would mix the documents of a row"]),
        ("pretrain", {"vocab_size": 4096}, ["its vocabulary has 4096 entries"]),
    ],
)
def test_a_teacher_reads_the_same_tokens_and_mixes_no_conversations(
    write_export: WriteExport,
    make_run: MakeRun,
    tmp_path: Path,
    objective: str,
    teacher: dict[str, Any],
    expected: list[str],
) -> None:
    export = write_export(tmp_path, **teacher)
    masked = objective == "documentMask"
    settings = {
        "objective": "pretrain" if masked else objective,
        "distillation": Distillation(teacher=export),
    }
    run = make_run()
    data = run.data.model_copy(update={"document_mask": masked})
    run = run.model_copy(update={"data": data, "training": run.training.model_copy(update=settings)})
    with closing(QUICK(export)) as store:
        problems = list(teacher_problems(run, [], store))
    assert all(words in problem for words, problem in zip(expected, problems, strict=True))


def test_a_teacher_is_refused_that_does_not_fit_beside_the_student(
    write_export: WriteExport, make_run: MakeRun, tmp_path: Path
) -> None:
    export = write_export(tmp_path, hidden_size=4096)
    run = make_run()
    settings = {"distillation": Distillation(teacher=export)}
    changes = {
        "training": run.training.model_copy(update=settings),
        "workers": run.workers.model_copy(update={"memory_bytes": 2**28}),
    }
    run = run.model_copy(update=changes)
    assert check_memory(run) == []
    with closing(QUICK(export)) as store:
        (problem,) = teacher_problems(run, [], store)
    assert "and their teachers alone need" in problem
    assert "a smaller teacher" in problem


def test_a_teacher_is_the_one_that_was_recorded(
    write_export: WriteExport, make_run: MakeRun, tmp_path: Path
) -> None:
    recorded = write_export(tmp_path).model_copy(update={"digest": "sha256:" + "0" * 64})
    run = make_run()
    settings = {"distillation": Distillation(teacher=recorded)}
    run = run.model_copy(update={"training": run.training.model_copy(update=settings)})
    (refusal,) = preflight(run, QUICK)
    assert refusal.reason == reasons.CHECKPOINT_MISMATCH
    assert "spec.training.distillation.teacher" in refusal.message
    assert f"{recorded.digest} is recorded" in refusal.message


@pytest.mark.parametrize("config", ["[" * 100_000, "[1, 2]", "no JSON"])
def test_a_config_that_was_planted_is_a_refusal(
    write_export: WriteExport, make_run: MakeRun, tmp_path: Path, config: str
) -> None:
    export = write_export(tmp_path)
    (tmp_path / "export/config.json").write_text(config)
    (refusal,) = preflight(make_run().model_copy(update={"init_from": export}), QUICK)
    assert refusal.reason == reasons.CHECKPOINT_MISMATCH
    assert "no export of this version" in refusal.message


# ---- datasets


@pytest.fixture
def dataset_run(tmp_path: Path) -> DatasetRun:
    (tmp_path / "raw").mkdir()
    return DatasetRun(
        owner=OWNER,
        raw_sources=[RawSource(name="docs", uri=f"file://{tmp_path}/raw", include=["*.txt"])],
        raw_storage=Storage(uri=f"file://{tmp_path}/raw"),
        tokenizer=TokenizerTraining(vocab_size=512),
        workers=Workers(num_nodes=1),
        storage=Storage(uri=f"file://{tmp_path}/prepared"),
    )


def test_raw_objects_that_nothing_matches(dataset_run: DatasetRun, tmp_path: Path) -> None:
    (tmp_path / "raw/readme.md").write_text("hello")
    assert only_reason(dataset_run) == reasons.NO_RAW_OBJECTS


def test_a_dataset_with_raw_objects_may_start(dataset_run: DatasetRun, tmp_path: Path) -> None:
    (tmp_path / "raw/a.txt").write_text("hello")
    assert preflight(dataset_run, QUICK) == []


def test_a_tokenizer_that_is_not_there(dataset_run: DatasetRun, tmp_path: Path) -> None:
    (tmp_path / "raw/a.txt").write_text("hello")
    run = dataset_run.model_copy(
        update={"tokenizer": None, "tokenizer_uri": f"file://{tmp_path}/tok/tokenizer.json"}
    )
    assert only_reason(run) == reasons.OBJECT_NOT_FOUND


def test_what_the_stages_of_a_dataset_cannot_use_is_told(dataset_run: DatasetRun, tmp_path: Path) -> None:
    (tmp_path / "raw/a.txt").write_text("hello")
    missing = Decontaminate(uris=[f"file://{tmp_path}/questions.jsonl"])
    unseen = PipelineStage(name="unseen", decontaminate=missing)
    private = PipelineStage(name="private", redact_pii=RedactPii(phone_regions=["ZZ"]))
    [refusal] = preflight(dataset_run.model_copy(update={"pipeline": [private]}), QUICK)
    assert "redactPii.phoneRegions: 'ZZ'" in refusal.message
    [refusal] = preflight(dataset_run.model_copy(update={"pipeline": [unseen]}), QUICK)
    assert refusal.reason == reasons.OBJECT_NOT_FOUND
    assert "spec.pipeline: " in refusal.message
    assert "questions.jsonl" in refusal.message


# ---- the verdict


def test_every_problem_is_told_at_once_and_the_final_ones_decide(make_run: MakeRun, tmp_path: Path) -> None:
    away = Storage(uri="s3://models/tiny", endpoint_url="http://127.0.0.1:9")
    run = make_run(storage=away, source=Storage(uri=f"file://{tmp_path}/nowhere"))
    verdict = verdict_of(preflight(run, QUICK))
    assert verdict is not None
    assert (verdict.outcome, verdict.reason) == ("Failed", NotFound.reason)
    assert verdict.exit_code == ExitCode.BAD_INPUT


def test_what_may_pass_by_itself_is_tried_again(make_run: MakeRun) -> None:
    away = Storage(uri="s3://models/tiny", endpoint_url="http://127.0.0.1:9")
    verdict = verdict_of(preflight(make_run(storage=away), QUICK))
    assert verdict is not None
    assert (verdict.outcome, verdict.reason) == ("Retry", StoreUnavailable.reason)
    assert verdict.exit_code == ExitCode.TRY_AGAIN


def test_the_process_hands_its_verdict_to_the_supervisor_by_a_file(make_run: MakeRun, tmp_path: Path) -> None:
    (tmp_path / "good.json").write_bytes(make_run().to_json())
    (tmp_path / "bad.json").write_bytes(make_run(length=4096).to_json())
    verdict_file = tmp_path / "verdict.json"
    assert main([f"--run-config={tmp_path}/good.json", f"--verdict-file={verdict_file}"]) == ExitCode.DONE
    assert not verdict_file.exists()
    assert main([f"--run-config={tmp_path}/bad.json", f"--verdict-file={verdict_file}"]) == ExitCode.BAD_INPUT
    assert reasons.EMPTY_DATASET in verdict_file.read_text()
