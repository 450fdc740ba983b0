import pytest

from deepseek_workloads.contract import reasons
from deepseek_workloads.contract.digest import sha256_digest
from deepseek_workloads.data.manifest import DatasetError, load_manifest, pin_manifest
from deepseek_workloads.store.interface import NotFound


def test_a_manifest_is_loaded_under_its_digest(new_store, write_dataset) -> None:
    store = new_store("a")
    manifest = write_dataset(store, [100])
    store.create("manifest.json", manifest.to_json())
    assert load_manifest(store, sha256_digest(manifest.to_json())) == manifest


def test_without_a_digest_what_is_found_is_pinned(new_store, write_dataset) -> None:
    store = new_store("a")
    document = write_dataset(store, [100]).to_json()
    store.create("manifest.json", document)
    assert pin_manifest(store, None).digest == sha256_digest(document)


def test_another_digest_names_both(new_store, write_dataset) -> None:
    store = new_store("a")
    document = write_dataset(store, [100]).to_json()
    store.create("manifest.json", document)
    with pytest.raises(DatasetError, match=f"{sha256_digest(document)}: must be sha256:beef") as caught:
        load_manifest(store, "sha256:beef")
    assert caught.value.reason == reasons.DATASET_DIGEST_MISMATCH


@pytest.mark.parametrize("change", [{"chunk_checksums": []}, {"size": 7}, {"chunk_tokens": 0}])
def test_a_shard_that_contradicts_itself_is_refused(change, new_store, write_dataset) -> None:
    store = new_store("a")
    manifest = write_dataset(store, [100])
    broken = manifest.model_copy(update={"train": [manifest.train[0].model_copy(update=change)]})
    store.create("manifest.json", broken.to_json())
    with pytest.raises(DatasetError, match="prepare the dataset again") as caught:
        load_manifest(store, None)
    assert caught.value.reason == reasons.DATASET_INVALID


@pytest.mark.parametrize("field", ["key", "document_offsets_key", "tokenizer_key"])
@pytest.mark.parametrize("key", ["../other/data.bin", "/etc/passwd", "data/../../x", ""])
def test_a_key_that_leads_out_of_the_dataset_is_refused(field, key, new_store, write_dataset) -> None:
    store = new_store("a")
    manifest = write_dataset(store, [100])
    shard = manifest.train[0].model_copy(update={field: key})
    change = {field: key} if field == "tokenizer_key" else {"train": [shard]}
    store.create("manifest.json", manifest.model_copy(update=change).to_json())
    with pytest.raises(DatasetError, match="no manifest of this version"):
        load_manifest(store, None)


def test_what_is_no_manifest_is_refused(new_store) -> None:
    store = new_store("a")
    store.create("manifest.json", b"{}")
    with pytest.raises(DatasetError, match="no manifest of this version"):
        load_manifest(store, None)


def test_a_missing_manifest_is_the_stores_error(new_store) -> None:
    with pytest.raises(NotFound):
        load_manifest(new_store("a"), None)
