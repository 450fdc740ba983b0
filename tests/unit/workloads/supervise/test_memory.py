from pathlib import Path

from deepseek_workloads.supervise.memory import out_of_memory_kills


def test_cgroup_v2_is_read(tmp_path: Path) -> None:
    events = tmp_path / "memory.events"
    events.write_text("low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\noom_group_kill 0\n")
    assert out_of_memory_kills((tmp_path / "absent", events)) == 2


def test_cgroup_v1_is_read(tmp_path: Path) -> None:
    control = tmp_path / "memory.oom_control"
    control.write_text("oom_kill_disable 0\nunder_oom 0\noom_kill 1\n")
    assert out_of_memory_kills((control,)) == 1


def test_outside_of_a_container_nothing_was_killed(tmp_path: Path) -> None:
    assert out_of_memory_kills((tmp_path / "absent",)) == 0
