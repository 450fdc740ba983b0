"""How near a pod is to its memory limit, read from its cgroup."""

from pathlib import Path

import pytest

from deepseek_workloads.train.watch.memory import pod_memory_share, spare_memory


def share(folder: Path, *, current: str, limit: str, cached: int = 0) -> float | None:
    files = {
        "current": current,
        "limit": limit,
        "statistics": f"anon 5\ninactive_file {cached}\n",
    }
    for name, content in files.items():
        (folder / name).write_text(content)
    return pod_memory_share(folder / "current", folder / "limit", folder / "statistics")


def test_the_file_cache_is_not_counted(tmp_path: Path) -> None:
    assert share(tmp_path, current="900\n", limit="1000\n", cached=300) == pytest.approx(0.6)


def test_without_a_limit_there_is_no_share(tmp_path: Path) -> None:
    assert share(tmp_path, current="900\n", limit="max\n") is None


def test_outside_of_a_cgroup_there_is_no_share(tmp_path: Path) -> None:
    assert pod_memory_share(tmp_path / "a", tmp_path / "b", tmp_path / "c") is None


def test_what_is_spare_is_the_rest_to_the_limit(tmp_path: Path) -> None:
    files = (tmp_path / "current", tmp_path / "limit", tmp_path / "statistics")
    assert share(tmp_path, current="900\n", limit="1000\n", cached=300) is not None
    assert spare_memory(*files) == 400
    assert share(tmp_path, current="900\n", limit="max\n") is None
    assert spare_memory(*files) is None
