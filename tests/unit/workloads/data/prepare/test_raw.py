import pytest
from hypothesis import given
from hypothesis import strategies as st

from deepseek_workloads.contract.run_config import DatasetRun, Owner, RawSource, Storage, Workers
from deepseek_workloads.data.prepare.raw import OBJECT_COST_BYTES, fingerprint, is_wanted, plan_parts
from deepseek_workloads.data.prepare.records import RawSlice
from deepseek_workloads.store.interface import ObjectInfo

MIB = 1024 * 1024


def _run(file_format: str = "jsonl", **changes) -> DatasetRun:
    return DatasetRun(
        owner=Owner(namespace="n", name="d", uid="u"),
        raw_sources=[RawSource(name="a", uri="s3://bucket/raw/", format=file_format)],
        raw_storage=Storage(uri="s3://bucket"),
        workers=Workers(num_nodes=1),
        storage=Storage(uri="s3://bucket/out"),
        **changes,
    )


def _slices(sizes: list[int]) -> list[RawSlice]:
    return [
        RawSlice(source=0, key=f"{number:04d}", etag="e", size=size, start=0, end=size)
        for number, size in enumerate(sizes)
    ]


@given(st.lists(st.integers(1, 200 * MIB), min_size=1, max_size=30))
def test_parts_cover_every_byte_once_in_order(sizes) -> None:
    parts = plan_parts(_run(), _slices(sizes))
    pieces = [piece for part in parts for piece in part.slices]
    covered = {}
    for piece in pieces:
        assert piece.start == covered.get(piece.key, 0)
        covered[piece.key] = piece.end
    assert covered == {f"{number:04d}": size for number, size in enumerate(sizes)}
    assert [part.number for part in parts] == list(range(len(parts)))


@given(st.lists(st.integers(1, 200 * MIB), min_size=1, max_size=30))
def test_parts_of_json_lines_are_balanced(sizes) -> None:
    parts = plan_parts(_run(), _slices(sizes))
    costs = [sum(piece.end - piece.start + OBJECT_COST_BYTES for piece in part.slices) for part in parts]
    assert max(costs) <= 1.5 * max(MIB, sum(costs) / len(costs))


def test_a_small_dataset_still_has_work_for_several_workers() -> None:
    assert len(plan_parts(_run(), _slices([32 * MIB]))) == 16


def test_a_large_one_has_parts_of_about_a_shard() -> None:
    parts = plan_parts(_run(shard_tokens=MIB), _slices([4096 * MIB]))
    assert 1024 <= len(parts) <= 1040


def test_a_text_object_is_one_document_and_stays_whole() -> None:
    parts = plan_parts(_run("text"), _slices([300 * MIB, 5, 5]))
    assert parts[0].slices[0].end == 300 * MIB


@pytest.mark.parametrize(
    ("key", "wanted"),
    [("a/b.txt", True), ("a/skip.txt", False), ("a/b.md", False), ("folder/", False)],
)
def test_objects_are_chosen_by_pattern(key, wanted) -> None:
    source = RawSource(name="a", uri="s3://b", include=["*.txt", "*/"], exclude=["*/skip*"])
    assert is_wanted(ObjectInfo(key, 10, "e"), source) is wanted


def test_an_empty_object_is_left_out() -> None:
    assert not is_wanted(ObjectInfo("a.txt", 0, "e"), RawSource(name="a", uri="s3://b"))


def test_the_fingerprint_changes_with_key_etag_and_size() -> None:
    [piece] = _slices([10])
    changes = [{}, {"key": "x"}, {"etag": "x"}, {"size": 11}]
    assert len({fingerprint(_run(), [piece.model_copy(update=change)]) for change in changes}) == 4
