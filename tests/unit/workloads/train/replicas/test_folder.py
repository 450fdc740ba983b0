"""A pod's memory shows whole files only, and a full one says so."""

import errno
from pathlib import Path

import pytest

from deepseek_workloads.contract import environment
from deepseek_workloads.contract.run_config import TrainingRun
from deepseek_workloads.train.replicas.folder import ReplicaFolder, memory_replicas, said

PREFIX = "data/00000001-a/"


def test_a_file_is_there_when_it_is_whole(tmp_path: Path) -> None:
    folder = ReplicaFolder(tmp_path)
    file = folder.begin(PREFIX + "x", 6)
    file.write(3, b"def")
    assert folder.keys(PREFIX) == frozenset()
    file.write(0, memoryview(b"abc"))
    file.finish()
    assert folder.keys(PREFIX) == {PREFIX + "x"}
    assert folder.read(PREFIX + "x") == b"abcdef"
    assert folder.read(PREFIX + "x", 2, 4) == b"cd"


def test_what_is_not_there_or_shorter_is_none_for_its_own_rank_and_zeros_for_another(tmp_path: Path) -> None:
    folder = ReplicaFolder(tmp_path)
    folder.put(PREFIX + "x", b"abc")
    for key, start, end in ((PREFIX + "x", 1, 4), (PREFIX + "y", 0, 2)):
        assert folder.read(key, start, end) is None
        assert folder.read_or_zeros(key, start, end) == bytes(end - start)


def test_only_one_checkpoint_is_kept(tmp_path: Path) -> None:
    folder = ReplicaFolder(tmp_path)
    folder.forget_all_but(PREFIX)  # nothing yet
    for prefix in ("data/00000000-z/", PREFIX, "data/00000002-b/"):
        folder.put(prefix + "x", b"abc")
    folder.forget_all_but(PREFIX)
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["00000001-a"]
    assert folder.keys(PREFIX) == {PREFIX + "x"}


def test_what_does_not_fit_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    with pytest.raises(OSError, match="No space left") as failure:
        ReplicaFolder(tmp_path).put(PREFIX + "x", b"abc")
    assert list((tmp_path / PREFIX).iterdir()) == []
    assert "workers.resources.memory" in said(failure.value)


def _run(replicas: int | None) -> TrainingRun:
    return TrainingRun.model_validate(
        {
            "owner": {"namespace": "n", "name": "r", "uid": "u"},
            "architecture": {
                "vocab_size": 8,
                "hidden_size": 8,
                "intermediate_size": 8,
                "num_hidden_layers": 1,
                "num_attention_heads": 1,
            },
            "data": {"sources": [{"name": "d", "storage": {"uri": "file:///d"}}], "sequence_length": 8},
            "training": {"steps": 1, "global_batch_size": 1},
            "checkpoint": {"memory_replicas": replicas},
            "workers": {"num_nodes": 1},
            "storage": {"uri": "file:///r"},
        }
    )


def test_a_rank_keeps_files_where_its_run_wants_it_and_its_pod_has_the_memory() -> None:
    environ = {environment.MEMORY_REPLICAS_DIR: "/replicas", environment.POD_NAME: "worker-0"}
    found = memory_replicas(_run(2), environ=environ)
    assert found is not None
    assert (found.pod, found.copies) == ("worker-0", 2)
    assert memory_replicas(_run(None), environ=environ) is None
    assert memory_replicas(_run(2), environ={}) is None
