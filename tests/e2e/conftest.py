"""One boot of the local Kubernetes, and one installation in it, for all e2e tests.

KEEP_CLUSTER=1 leaves both for the next run of the tests, which then takes what is there.
"""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from harness import platform as harness_platform
from harness.kubectl import Kubectl, condition, conditions_in_words
from harness.platform import BUCKET, Platform
from harness.probe import RESTRICTED, probe, probe_pod, wait_ready

from deepseek_demo.corpus import build_corpus
from local_kubernetes import Cluster, Settings, attach, down, up, write_static_archive
from local_kubernetes.settings import volumes_dir

CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "deepseek-operator"
RAW_PREFIX = "raw/"
RAW_BYTES = 2_000_000
FOREIGN_NAMESPACE = "outsiders"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What is marked `last` looks back on all others."""
    items.sort(key=lambda item: item.get_closest_marker("last") is not None)


@pytest.fixture(scope="session")
def say(pytestconfig: pytest.Config) -> Callable[[str], None]:
    """To the terminal, past the capturing of output: a boot takes long enough to want to watch it."""
    capture = pytestconfig.pluginmanager.getplugin("capturemanager")

    def write(text: str) -> None:
        with capture.global_and_fixture_disabled():
            print(f"    {text}", flush=True)

    return write


@pytest.fixture(scope="session")
def cluster(say: Callable[[str], None]) -> Iterator[Cluster]:
    settings = Settings(name="e2e")
    if attach(settings.state_dir) is None:  # what a killed run left in S3 would be taken for this run's
        shutil.rmtree(volumes_dir(settings), ignore_errors=True)
    try:
        yield up(settings, report=say)
    finally:
        if os.environ.get("KEEP_CLUSTER") != "1":
            down(settings.state_dir)
            shutil.rmtree(volumes_dir(settings), ignore_errors=True)


@pytest.fixture(scope="session")
def platform(
    cluster: Cluster, say: Callable[[str], None], tmp_path_factory: pytest.TempPathFactory
) -> Platform:
    return harness_platform.install(cluster, cache=CACHE, work=tmp_path_factory.mktemp("e2e"), say=say)


@pytest.fixture(scope="session")
def dataset(platform: Platform, say: Callable[[str], None]) -> str:
    """A small prepared dataset of real English and Chinese text."""
    corpus = build_corpus(CACHE / "corpus", say=say)
    taken = 0
    for key, path in corpus.objects():
        if path.suffix == ".jsonl" and not key.startswith("chat/") and taken < RAW_BYTES:
            lines = path.read_bytes()[: RAW_BYTES // 4]
            whole = lines[: lines.rfind(b"\n") + 1]
            platform.bucket.put(f"s3://{BUCKET}/{RAW_PREFIX}{key}", whole)
            taken += len(whole)
    name = platform.apply_dataset("docs", raw_uri=f"s3://{BUCKET}/{RAW_PREFIX.rstrip('/')}")
    found = platform.wait_until_finished(name, kind="dsdata")
    assert condition(found, "Succeeded")["status"] == "True", conditions_in_words(found)
    return name


@pytest.fixture(scope="session")
def undisturbed(platform: Platform, dataset: str) -> str:
    """A finished job that nothing happened to: what all others are compared with."""
    name = platform.apply_job("undisturbed", dataset)
    job = platform.wait_until_finished(name)
    assert condition(job, "Succeeded")["status"] == "True", conditions_in_words(job)
    return name


@pytest.fixture(scope="module")
def outsiders(
    platform: Platform, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[list[tuple[Kubectl, str]]]:
    """A pod in another namespace, and one beside the jobs that is of none; new ones for each module, since
    others lose nodes."""
    archive = tmp_path_factory.mktemp("images") / "probe.tar"
    write_static_archive(probe(), archive)
    platform.cluster.load_image_archive(archive)
    foreign = platform.kubectl.in_namespace(FOREIGN_NAMESPACE)
    foreign.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": FOREIGN_NAMESPACE}})
    places = [(foreign, "outsider-foreign"), (platform.kubectl, "outsider-beside")]
    for kubectl, name in places:
        pod = probe_pod(name, change={"automountServiceAccountToken": False})
        pod["spec"]["containers"][0]["securityContext"] = RESTRICTED
        kubectl.apply(pod)
    for kubectl, name in places:
        wait_ready(kubectl, name)
    yield places
    for kubectl, name in places:
        kubectl.delete("pod", name)
