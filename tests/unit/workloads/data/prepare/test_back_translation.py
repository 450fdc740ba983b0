"""Copies that a served model has translated there and back: a real HTTP server that speaks OpenAI's API."""

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from deepseek_workloads.contract import reasons
from deepseek_workloads.contract.augmentation import BackTranslate, ReplaceSynonyms, Synonyms
from deepseek_workloads.contract.pipeline import PipelineStage, ScoreDifficulty
from deepseek_workloads.contract.run_config import RawSource
from deepseek_workloads.data.document_facts import read_document_facts
from deepseek_workloads.data.manifest import DatasetError, load_manifest
from deepseek_workloads.data.prepare.model_service import (
    Answer,
    ModelService,
    ModelServiceAway,
    RequestRefused,
)
from deepseek_workloads.store.open import open_store
from deepseek_workloads.store.retry import RetryPolicy

KEY = "sk-of-nobody-1234"
TEXTS = [f"The worker {n} begins the task {n * 7}." for n in range(40)]
NO_PAUSE = RetryPolicy(attempts=4, budget_seconds=30, base_seconds=0, cap_seconds=0)


@dataclass
class Translator:
    """Answers by `say`; before that, each request takes the next of `faults`: a status, None: answered."""

    faults: list[int | None] = field(default_factory=list)
    key: str | None = None
    asked: list[dict] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
    url: str = ""

    def say(self, content: str) -> tuple[str, str]:
        prompt, _, text = content.partition("\n\n")
        if "unending" in text:
            return "and on", "length"
        if "silent" in text:
            return " ", "stop"
        if "German" in prompt:
            return text.replace("begins", "beginnt"), "stop"
        return text.replace("beginnt", "starts"), "stop"


def _handler(translator: Translator) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer(200, {"object": "list", "data": [{"id": "translator", "object": "model"}]})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with translator.lock:
                translator.asked.append(body)
                translator.at_once += 1
                translator.most_at_once = max(translator.most_at_once, translator.at_once)
                fault = translator.faults.pop(0) if translator.faults else None
            try:
                self._chat(body, fault)
            finally:
                with translator.lock:
                    translator.at_once -= 1

        def _chat(self, body: dict, fault: int | None) -> None:
            content = body["messages"][0]["content"]
            if translator.key and self.headers["Authorization"] != f"Bearer {translator.key}":
                self._answer(401, {"error": {"message": f"not {self.headers['Authorization']}"}})
            elif fault == 0:
                self.close_connection = True  # the answer never comes
            elif fault is not None:
                self._answer(fault, {"error": {"message": f"fault for {self.headers['Authorization']}"}})
            elif "quoted" in content:
                self._answer(400, {"error": {"message": f"cannot parse {content!r}"}})
            elif "too long" in content:
                self._answer(400, {"error": {"message": "the context is 128 tokens"}})
            else:
                text, reason = translator.say(content)
                message = {"role": "assistant", "content": text}
                choice = {"index": 0, "message": message, "finish_reason": reason}
                self._answer(200, {"object": "chat.completion", "choices": [choice]})

        def _answer(self, status: int, document: dict) -> None:
            content = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    return Handler


@pytest.fixture
def translator() -> Iterator[Translator]:
    made = Translator()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(made))
    made.url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield made
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def make_translated_run(make_run, translator, tmp_path):
    def make(texts=TEXTS, *, before=(), after=(), max_bad_records=0, **settings):
        folder = tmp_path / "texts"
        folder.mkdir(exist_ok=True)
        (folder / "texts.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in texts))
        stage = BackTranslate(**({"base_url": translator.url, "model": "translator"} | settings))
        return make_run(
            raw_sources=[RawSource(name="texts", uri=folder.as_uri(), format="jsonl")],
            pipeline=[*before, PipelineStage(name="there-and-back", back_translate=stage), *after],
            max_bad_records=max_bad_records,
        )

    return make


def _copies(run, verdict) -> tuple[int, list[tuple[float, int]]]:
    """(documents that are copies, facts of all)"""
    assert verdict.outcome == "Succeeded", verdict
    store = open_store(run.storage)
    manifest = load_manifest(store, verdict.digest)
    facts = read_document_facts(store, [*manifest.train, *manifest.held_out])
    return manifest.augmented_documents, facts.tolist()


def _stage(run) -> dict:
    store = open_store(run.storage)
    [key] = [info.key for info in store.list("") if info.key.endswith("report.json")]
    return next(s for s in json.loads(store.read(key))["stages"] if s["name"] == "there-and-back")


def test_each_document_has_a_copy_that_was_there_and_back_and_is_marked(
    make_translated_run, prepare, translator
) -> None:
    run = make_translated_run(seed=5, max_tokens=64)
    copies, facts = _copies(run, prepare(run))
    assert copies == len(TEXTS) == sum(copy for _, copy in facts)
    assert len(facts) == 2 * len(TEXTS)
    assert len(translator.asked) == 2 * len(TEXTS)
    asked = {
        (body["model"], body["temperature"], body["seed"], body["max_tokens"]) for body in translator.asked
    }
    assert asked == {("translator", 0, 5, 64)}
    contents = {body["messages"][0]["content"] for body in translator.asked}
    prompt = "Translate the following text into {}. Answer with the translation alone.\n\n{}"
    assert contents == {prompt.format("German", text) for text in TEXTS} | {
        prompt.format("English", text.replace("begins", "beginnt")) for text in TEXTS
    }


def test_no_more_requests_run_at_once_than_asked_for(make_translated_run, prepare, translator) -> None:
    run = make_translated_run(concurrency=2)
    _copies(run, prepare(run))
    assert translator.most_at_once <= 2


def test_a_share_of_the_documents_is_the_same_one_each_time(make_translated_run, prepare, translator) -> None:
    run = make_translated_run(share=0.5)
    copies, _ = _copies(run, prepare(run))
    assert 8 <= copies <= 32
    first = {body["messages"][0]["content"] for body in translator.asked}
    translator.asked.clear()
    again = run.model_copy(
        update={"storage": run.storage.model_copy(update={"uri": run.storage.uri + "-again"})}
    )
    _copies(again, prepare(again))
    assert {body["messages"][0]["content"] for body in translator.asked} == first


def test_long_documents_and_copies_are_left_as_they_are(make_translated_run, prepare, translator) -> None:
    lexicon = [Synonyms(word="worker", synonyms=["rank"])]
    synonyms = PipelineStage(name="words", replace_synonyms=ReplaceSynonyms(lexicon=lexicon, rate=1))
    run = make_translated_run([*TEXTS[:5], "The worker begins. " * 20], before=[synonyms], max_characters=100)
    copies, _ = _copies(run, prepare(run))
    assert copies == 6 + 5
    assert len(translator.asked) == 2 * 5


def test_an_answer_that_is_the_original_is_no_copy(make_translated_run, prepare) -> None:
    run = make_translated_run([f"Nothing here is said otherwise, {n}." for n in range(20)])
    copies, _ = _copies(run, prepare(run))
    assert copies == 0
    assert _stage(run)["refused"] == 0


REFUSED = ["A text that is too long.", "An unending text.", "A silent text."]


def test_what_the_service_cannot_translate_stays_and_goes_to_the_quarantine(
    make_translated_run, prepare
) -> None:
    run = make_translated_run([*TEXTS, *REFUSED], max_bad_records=3)
    copies, facts = _copies(run, prepare(run))
    assert (copies, len(facts)) == (len(TEXTS), 2 * len(TEXTS) + 3)
    assert _stage(run)["refused"] == 3
    store = open_store(run.storage)
    [key] = [info.key for info in store.list("quarantine/")]
    lines = [json.loads(line) for line in store.read(key).splitlines()]
    assert {line["document"]: line["reason"] for line in lines} == {
        REFUSED[0]: "into German: HTTP 400: the context is 128 tokens",
        REFUSED[1]: "into German: more than 2048 tokens",
        REFUSED[2]: "into German: an empty answer",
    }


def test_more_of_them_than_may_be_bad_fail_the_dataset(make_translated_run, prepare) -> None:
    verdict = prepare(make_translated_run([*TEXTS, *REFUSED], max_bad_records=2))
    assert (verdict.outcome, verdict.reason) == ("Failed", reasons.TOO_MANY_BAD_RECORDS)
    assert "there-and-back': 3" in verdict.message


def test_a_service_that_quotes_what_it_refuses_shows_it_in_the_quarantine_only(
    make_translated_run, prepare
) -> None:
    run = make_translated_run([*TEXTS, "A text that is quoted: Ada, born 1815."])
    verdict = prepare(run)
    assert (verdict.outcome, verdict.reason) == ("Failed", reasons.TOO_MANY_BAD_RECORDS)
    assert "into German: HTTP 400." in verdict.message
    store = open_store(run.storage)
    with_words = [info.key for info in store.list("") if b"cannot parse" in store.read(info.key)]
    assert "Ada" not in verdict.message
    assert [key.partition("/")[0] for key in with_words] == ["quarantine"]


def test_a_model_that_is_not_served_is_refused_before_any_work(
    make_translated_run, prepare, translator, tmp_path
) -> None:
    verdict = prepare(make_translated_run(back_model="other"))
    assert (verdict.outcome, verdict.reason) == ("Failed", reasons.INVALID_RUN_CONFIG)
    assert "backTranslate.backModel: 'other' is not served" in verdict.message
    assert "'translator'" in verdict.message
    assert not translator.asked
    assert not list((tmp_path / "out").rglob("*.txt"))


def test_a_service_that_is_away_is_no_failure_and_the_next_run_asks_again(
    make_translated_run, prepare, translator, monkeypatch
) -> None:
    monkeypatch.setattr("deepseek_workloads.data.prepare.model_service.RETRIES", NO_PAUSE)
    scored = PipelineStage(name="difficulty", score_difficulty=ScoreDifficulty())
    run = make_translated_run(before=[scored], concurrency=1)
    translator.faults = [None] * 20 + [503] * 4
    verdict = prepare(run)
    assert (verdict.outcome, verdict.reason) == ("Retry", reasons.MODEL_SERVICE_UNREACHABLE)
    assert "HTTP 503" in verdict.message
    copies, _ = _copies(run, prepare(run))
    assert copies == len(TEXTS)


# ---- the client


@pytest.fixture
def service(translator) -> Iterator[ModelService]:
    made = ModelService(translator.url, key=KEY, timeout_seconds=10, retries=NO_PAUSE)
    yield made
    made.close()


def _ask(service):
    return service.chat("Into German:\n\nIt begins", model="translator", max_tokens=9, seed=0)


@pytest.mark.parametrize("faults", [[503, 429, 500], [0, 0, 0]], ids=["busy", "reset"])
def test_what_may_pass_is_tried_again(service, translator, faults) -> None:
    translator.faults = list(faults)
    assert _ask(service).text == "It beginnt"
    assert len(translator.asked) == 4


def test_after_its_budget_of_tries_it_gives_up(service, translator) -> None:
    translator.faults = [503] * 9
    with pytest.raises(ModelServiceAway, match=r"4 tries in .* HTTP 503"):
        _ask(service)
    assert len(translator.asked) == 4


class Restart:
    """Moves the clock by the waits alone; the service is back after `away_seconds`."""

    def __init__(self, translator: Translator, *, away_seconds: float) -> None:
        self.translator, self.away_seconds = translator, away_seconds
        self.now = 0.0
        translator.faults = [503] * 1000

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        if self.now >= self.away_seconds:
            self.translator.faults.clear()

    def ask(self) -> Answer:
        url = self.translator.url
        service = ModelService(
            url, key=None, timeout_seconds=10, sleep=self.sleep, clock=lambda: 1e6 + self.now
        )
        try:
            return _ask(service)
        finally:
            service.close()


def test_a_service_that_restarts_for_two_minutes_ends_no_run(translator) -> None:
    assert Restart(translator, away_seconds=120).ask().text == "It beginnt"


def test_a_service_that_stays_away_is_given_up_when_the_time_is_used_up(translator) -> None:
    restart = Restart(translator, away_seconds=1e9)
    with pytest.raises(ModelServiceAway, match="HTTP 503"):
        restart.ask()
    assert 150 <= restart.now <= 180


@pytest.mark.parametrize(
    ("status", "error"), [(400, RequestRefused), (403, DatasetError), (307, DatasetError)]
)
def test_what_is_wrong_is_not_tried_again_and_no_message_has_the_key(
    service, translator, status, error
) -> None:
    translator.faults = [status]
    with pytest.raises(error) as raised:
        _ask(service)
    assert len(translator.asked) == 1
    assert str(status) in str(raised.value)
    assert KEY not in str(raised.value) + repr(service)


def test_the_key_of_the_pods_environment_is_sent(
    make_translated_run, prepare, translator, monkeypatch
) -> None:
    translator.key = KEY
    refused = prepare(make_translated_run())
    assert (refused.outcome, refused.reason) == ("Failed", reasons.INVALID_RUN_CONFIG)
    assert "secretRef" in refused.message
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    run = make_translated_run()
    copies, _ = _copies(run, prepare(run))
    assert copies == len(TEXTS)


def test_a_prompt_that_names_no_language_is_refused() -> None:
    with pytest.raises(ValueError, match=r"prompt: has no \{language\}"):
        BackTranslate(base_url="http://chat:8000/v1", model="chat", prompt="Translate:")
