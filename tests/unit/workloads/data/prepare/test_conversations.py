"""A dataset of conversations, prepared over real files in the tokens of another dataset."""

import json
from pathlib import Path

import numpy as np
import pytest

from deepseek_workloads.contract import reasons
from deepseek_workloads.contract.run_config import RawSource
from deepseek_workloads.data.loss_mask import ids_of, predicted_of
from deepseek_workloads.data.manifest import load_manifest
from deepseek_workloads.data.prepare.tokenizer import load_tokenizer
from deepseek_workloads.store.open import open_store

CHATS = 40


def chat(number: int, answer: str = "It is {}.") -> dict[str, object]:
    return {
        "messages": [
            {"role": "user", "content": f"What comes after {number}?"},
            {"role": "assistant", "content": answer.format(number + 1)},
        ]
    }


@pytest.fixture
def make_chat_run(make_run, prepare, raw: Path, tmp_path: Path):
    base = make_run()
    assert prepare(base).outcome == "Succeeded"

    def make(records: list[dict[str, object]], **changes):
        folder = tmp_path / "chats"
        folder.mkdir(exist_ok=True)
        (folder / "0.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
        return make_run(
            raw_sources=[RawSource(name="chats", uri=f"file://{folder}", format="chat")],
            tokenizer=None,
            tokenizer_uri=f"{base.storage.uri}/manifest.json",
            storage=base.storage.model_copy(update={"uri": f"file://{tmp_path}/chat-out"}),
            **changes,
        )

    return make


def test_answers_are_marked_in_the_shards(make_chat_run, prepare) -> None:
    run = make_chat_run([chat(number) for number in range(CHATS)])
    verdict = prepare(run)
    store = open_store(run.storage)
    manifest = load_manifest(store, verdict.digest)
    tokenizer = load_tokenizer(store.read(manifest.tokenizer_key), name="t")
    tokens = np.concatenate(
        [np.frombuffer(store.read(shard.key), dtype=shard.dtype) for shard in manifest.train]
    )
    said = tokenizer.decode(ids_of(tokens)[predicted_of(tokens)].tolist(), skip_special_tokens=False)
    answers = said.split("<|end_of_text|>")
    assert answers.pop() == ""
    assert len(answers) == manifest.statistics["train"].documents
    assert all(answer.startswith(" It is ") for answer in answers)
    assert ids_of(tokens).max() < manifest.vocab_size
    assert manifest.statistics["train"].predicted_tokens == predicted_of(tokens).sum()
    assert manifest.chat_template is not None
    assert "assistant" in manifest.chat_template


def test_a_conversation_that_cannot_be_text_is_a_bad_record(make_chat_run, prepare, tmp_path) -> None:
    records = [chat(number) for number in range(CHATS)] + [chat(99, "<|end_of_text|>")]
    refused = prepare(make_chat_run(records))
    assert (refused.outcome, refused.reason) == ("Failed", reasons.TOO_MANY_BAD_RECORDS)
    assert "<|end_of_text|>" in refused.message
    assert "What comes after" not in refused.message, "what is said is for the quarantine only"
    (kept,) = tmp_path.rglob("refused-*.jsonl")
    assert "What comes after 99?" in json.loads(kept.read_text())["document"]
    allowed = prepare(make_chat_run(records, max_bad_records=1))
    assert allowed.statistics["badRecords"] == 1


def test_what_is_said_is_normalised_and_not_the_json_around_it(make_chat_run, prepare) -> None:
    wide = "\N{FULLWIDTH QUOTATION MARK}yes\N{FULLWIDTH QUOTATION MARK} {}"
    run = make_chat_run([chat(number, wide) for number in range(CHATS)], normalization="nfkc")
    assert prepare(run).statistics["documents"] == CHATS


def test_conversations_and_text_do_not_mix(make_run, raw: Path) -> None:
    sources = [RawSource(name=name, uri=f"file://{raw}", format=name) for name in ("chat", "jsonl")]
    with pytest.raises(ValueError, match="a dataset of their own"):
        make_run(raw_sources=sources)
