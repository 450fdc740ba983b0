"""Who is looked at again when another resource changes."""

from deepseek_operator.cluster.kinds import DATASET, MODEL_REVISION, MODEL_SERVICE, TRAINING_JOB
from deepseek_operator.reconcile.dependencies import Dependencies
from deepseek_operator.reconcile.key import Key

JOB = Key(TRAINING_JOB, "research", "job")
DOCS = Key(DATASET, "research", "docs")
CODE = Key(DATASET, "research", "code")


def test_a_dataset_names_the_jobs_that_wait_for_it() -> None:
    dependencies = Dependencies()
    dependencies.record(JOB, on=frozenset({DOCS, CODE}))
    assert dependencies.of(DOCS) == {JOB}
    assert dependencies.of(CODE) == {JOB}


def test_a_new_record_replaces_the_old_one() -> None:
    dependencies = Dependencies()
    dependencies.record(JOB, on=frozenset({DOCS}))
    dependencies.record(JOB, on=frozenset({CODE}))
    assert dependencies.of(DOCS) == frozenset()
    dependencies.record(JOB, on=frozenset())
    assert dependencies.of(CODE) == frozenset()


def test_who_depends_on_any_of_a_kind_is_looked_at_when_one_of_the_namespace_changes() -> None:
    dependencies, service = Dependencies(), Key(MODEL_SERVICE, "research", "chat")
    dependencies.record(service, on=frozenset({Key(MODEL_REVISION, "research", "")}))
    assert dependencies.of(Key(MODEL_REVISION, "research", "tiny-1")) == {service}
    assert dependencies.of(Key(MODEL_REVISION, "elsewhere", "tiny-1")) == frozenset()
    assert dependencies.of(Key(DATASET, "research", "tiny-1")) == frozenset()
