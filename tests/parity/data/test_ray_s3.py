"""The recipe for text from the web as Ray tasks over a real S3 server, some of whose processes are killed."""

import functools
import json
import os
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
import ray

from deepseek_workloads.contract.pipeline import GopherQuality, PipelineStage, web_recipe
from deepseek_workloads.contract.run_config import (
    DatasetRun,
    Owner,
    RawSource,
    Storage,
    TokenizerTraining,
    Workers,
)
from deepseek_workloads.data.prepare import raw
from deepseek_workloads.data.prepare.pipeline import prepare
from deepseek_workloads.launch.ray_prepare import RayExecutor
from deepseek_workloads.store.open import open_store
from local_object_store import running_server

ROOTS = [str(Path(__file__).parents[3] / "workloads"), str(Path(__file__).parent)]
PAGE = (
    "Page {n} tells of the operator and of the {m} jobs that it watches with care. When a node is lost, "
    "another pod is made under a name of its own, so that nothing waits for the old one to end.\n"
    "Training number {n} goes on from its newest checkpoint, and to the end of its {m} steps that have been "
    "asked for by those who wait for the model.\n"
)
KILLED_IN = ("read_part", "find_pairs")  # over raw objects, over bands


class KillingExecutor:
    """Over Ray; the first task of each function of KILLED_IN takes its process with it, once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def run(self, task: functools.partial, items) -> Iterator:
        return RayExecutor().run(functools.partial(_begin(), str(self._folder), task), items)

    @property
    def begun(self) -> Counter[tuple[str, str]]:
        """How often each (function, item) was begun."""
        return Counter(tuple(json.loads(path.read_text())) for path in self._folder.glob("*.json"))


def _begin(killed_in: tuple[str, ...] = KILLED_IN):
    """A function within a function travels by value: Ray's workers cannot import this module."""

    def begin(folder: str, task: functools.partial, item: object) -> object:
        name = task.func.__name__
        number = os.urandom(8).hex()
        with open(f"{folder}/{number}.json", "w") as file:  # noqa: PTH123
            json.dump([name, repr(item)[:200]], file)
        if name in killed_in:
            try:
                os.close(os.open(f"{folder}/{name}.killed", os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                return task(item)
            os.kill(os.getpid(), signal.SIGKILL)
        return task(item)

    return begin


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with running_server(tmp_path_factory.mktemp("s3")) as running:
        yield running


@pytest.fixture(scope="module")
def _ray(server):
    variables = {"PYTHONPATH": ":".join(ROOTS), "OMP_NUM_THREADS": "1", **server.environ}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_AUTH_MODE", "disabled")  # else a token is written to the home folder
        for name, value in server.environ.items():
            patch.setenv(name, value)
        ray.init(
            num_cpus=2, include_dashboard=False, log_to_driver=False, runtime_env={"env_vars": variables}
        )
        yield
        ray.shutdown()


@pytest.fixture
def make_run(server, monkeypatch):
    """Of four objects with pages, some of them equal and nearly equal, in at least four parts."""
    monkeypatch.setattr(raw, "MIN_PART_BYTES", 16 * 1024)
    monkeypatch.setattr(raw, "OBJECT_COST_BYTES", 1024)
    keys = list(server.environ.values())
    client = boto3.client(
        "s3", endpoint_url=server.endpoint_url, aws_access_key_id=keys[0], aws_secret_access_key=keys[1]
    )
    client.create_bucket(Bucket="corpus")
    for number in range(4):
        pages = [PAGE.format(n=n, m=n * 7) for n in range(number * 60, number * 60 + 80)]
        lines = "\n".join(json.dumps({"text": page}) for page in pages)
        client.put_object(Bucket="corpus", Key=f"raw/{number}.jsonl", Body=lines.encode())

    def make(out: str) -> DatasetRun:
        storage = Storage(uri="s3://corpus/raw", endpoint_url=server.endpoint_url)
        return DatasetRun(
            owner=Owner(namespace="n", name="d", uid="u"),
            raw_sources=[RawSource(name="raw", uri="s3://corpus/raw", format="jsonl")],
            raw_storage=storage,
            tokenizer=TokenizerTraining(vocab_size=400),
            pipeline=[
                PipelineStage(name=stage.name, gopher_quality=GopherQuality(min_words=20))
                if stage.gopher_quality
                else stage
                for stage in web_recipe()
            ],
            held_out_fraction=0.1,
            workers=Workers(num_nodes=1),
            storage=storage.model_copy(update={"uri": f"s3://corpus/{out}"}),
        )

    return make


@pytest.mark.usefixtures("_ray")
def test_killed_processes_repeat_their_own_part_and_nothing_else(make_run, tmp_path) -> None:
    executor = KillingExecutor(tmp_path)
    killed = prepare(make_run("killed"), open_store=open_store, executor=executor, report=lambda _: None)
    assert killed.outcome == "Succeeded", killed
    repeated = {begun: times for begun, times in executor.begun.items() if times > 1}
    assert sorted(name for name, _ in repeated) == sorted(KILLED_IN)
    assert set(repeated.values()) == {2}
    assert sum(name == "read_part" for name, _ in executor.begun) >= 4

    # Each page was read once; of equal and of nearly equal ones one stayed.
    statistics = killed.statistics
    assert statistics["documentsIn"] == 4 * 80
    assert statistics["documents"] == statistics["documentsIn"] - statistics["duplicatesDropped"] > 0
