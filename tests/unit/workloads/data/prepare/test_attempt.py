"""Work that was begun with libraries that might write other bytes is begun again."""

from importlib.metadata import PackageNotFoundError, version

import pytest

from deepseek_workloads.contract.pipeline import FilterLength, PipelineStage
from deepseek_workloads.data.prepare import settings
from deepseek_workloads.data.prepare.publish import Identity
from deepseek_workloads.data.prepare.settings import attempt_id

IDENTITY = Identity("raw", "settings", "uid")


@pytest.fixture
def run(make_run):
    return make_run(pipeline=[PipelineStage(name="short", filter_length=FilterLength())])


def _with(monkeypatch, **versions: str | None) -> None:
    def of(name: str) -> str:
        found = versions[name] if name in versions else version(name)
        if found is None:
            raise PackageNotFoundError(name)
        return found

    monkeypatch.setattr(settings, "version", of)


@pytest.mark.parametrize("library", ["transformers", "ufal.udpipe", "ftfy"])
def test_another_version_of_a_stages_library_is_another_attempt(run, monkeypatch, library) -> None:
    attempts = set()
    for found in ("1.0", "1.1"):
        _with(monkeypatch, **{library: found})
        attempts.add(attempt_id(IDENTITY, run))
    assert len(attempts) == 2


def test_an_image_may_lack_what_few_stages_need(run, monkeypatch) -> None:
    attempts = []
    for parser in (None, "1.4.0", None):
        _with(monkeypatch, **{"ufal.udpipe": parser})
        attempts.append(attempt_id(IDENTITY, run))
    assert attempts[0] == attempts[2] != attempts[1]


def test_libraries_of_stages_decide_nothing_where_there_are_none(make_run, monkeypatch) -> None:
    run = make_run()
    before = attempt_id(IDENTITY, run)
    _with(monkeypatch, transformers="0.1", ftfy="0.1")
    assert attempt_id(IDENTITY, run) == before
