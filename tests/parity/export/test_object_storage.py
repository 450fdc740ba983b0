"""An export goes through a real S3 protocol: published there, sampled from there by its command."""

from collections.abc import Iterator

import boto3
import pytest
from exported_model import Exported

from deepseek_workloads.contract.run_config import Storage
from deepseek_workloads.export.files import ExportTokenizer
from deepseek_workloads.export.load import open_export
from deepseek_workloads.export.publish import export_model
from deepseek_workloads.export.sample import main
from deepseek_workloads.store.interface import ObjectStore
from deepseek_workloads.store.open import open_store
from local_object_store.in_process import in_process_server


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[Storage]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    with in_process_server() as endpoint:
        boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1").create_bucket(Bucket="models")
        yield Storage(uri="s3://models/tiny", endpoint_url=endpoint)


@pytest.fixture
def store(s3: Storage) -> Iterator[ObjectStore]:
    opened = open_store(s3)
    yield opened
    opened.close()


def test_an_export_in_s3_has_the_digest_of_one_in_a_folder_and_can_be_sampled(
    s3: Storage,
    store: ObjectStore,
    exported: Exported,
    export_tokenizer: ExportTokenizer,
    capsys: pytest.CaptureFixture[str],
) -> None:
    manifest = exported.export.manifest

    published = export_model(
        store,
        state=exported.model.state_dict(),
        architecture=exported.architecture,
        tokenizer=export_tokenizer,
        provenance=manifest.provenance,
        evaluation=manifest.evaluation,
    )
    code = main(["--uri", published.uri, "--endpoint-url", str(s3.endpoint_url), "--prompt", "A node"])

    assert published.digest == exported.export.digest
    assert open_export(store, published.digest).manifest == manifest
    assert (code, capsys.readouterr().out[:6]) == (0, "A node")
