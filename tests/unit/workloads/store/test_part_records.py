"""Records of finished parts: one for each, that of the first who finished it."""

from pathlib import Path

from deepseek_workloads.store.file import FileObjectStore
from deepseek_workloads.store.part_records import delete_record, put_record, read_records


def test_of_two_that_finish_a_part_the_first_is_believed(tmp_path: Path) -> None:
    store = FileObjectStore(tmp_path)
    for number, document in ((7, b"first"), (123456, b"other"), (7, b"second")):
        put_record(store, "work/parts/", number, document)
    put_record(store, "work/others/", 1, b"of another work")
    assert read_records(store, "work/parts/") == {7: b"first", 123456: b"other"}


def test_a_part_without_its_record_is_to_be_done_again(tmp_path: Path) -> None:
    store = FileObjectStore(tmp_path)
    put_record(store, "work/", 7, b"first")
    delete_record(store, "work/", 7)
    assert read_records(store, "work/") == {}
    put_record(store, "work/", 7, b"second")
    assert read_records(store, "work/") == {7: b"second"}
