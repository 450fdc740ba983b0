"""Requests that are decoded together get what each would get alone, and none can hurt another."""

import asyncio
import threading
from collections.abc import Callable

import pytest
import torch
from tokenizers import Tokenizer

from deepseek_workloads.export.generate import Sampling, generate
from deepseek_workloads.model.causal_lm import DeepseekV3ForCausalLM
from deepseek_workloads.serve.engine.answer import Answer, EngineError, Generation, QueueFull
from deepseek_workloads.serve.engine.engine import Engine

EOS = 1
GREEDY = Sampling(max_tokens=24, temperature=0)
PROMPTS = ["The kernel", "A", "内核调度", "A node runs pods.\nThe kernel schedules"]
StartEngine = Callable[..., Engine]


async def text_of(answer: Answer) -> tuple[str, str | None, int]:
    """Text, finish reason, tokens."""
    text, tokens, reason = "", 0, None
    async for delta in answer.deltas():
        text, tokens, reason = text + delta.text, tokens + delta.tokens, delta.finish_reason
    return text, reason, tokens


async def condition(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not holds():  # noqa: ASYNC110 - the engine's thread tells nobody
            await asyncio.sleep(0.001)


def alone(model: DeepseekV3ForCausalLM, tokenizer: Tokenizer, prompt: str, sampling: Sampling) -> str:
    ids = tokenizer.encode(prompt).ids
    new = list(generate(model, ids, sampling=sampling, stop=(EOS,)))
    return str(tokenizer.decode(ids + new))[len(tokenizer.decode(ids)) :]


def generation(tokenizer: Tokenizer, prompt: str, sampling: Sampling = GREEDY, *stop: str) -> Generation:
    return Generation(tuple(tokenizer.encode(prompt).ids), sampling, stop)


@pytest.mark.parametrize("sampling", [GREEDY, Sampling(max_tokens=24, temperature=0.9, top_p=0.9)])
async def test_in_company_every_request_gets_the_tokens_that_it_gets_alone(
    start_engine: StartEngine, model: DeepseekV3ForCausalLM, tokenizer: Tokenizer, sampling: Sampling
) -> None:
    samplings = [
        Sampling(sampling.max_tokens - 3 * at, sampling.temperature, sampling.top_p, seed=at)
        for at in range(len(PROMPTS))
    ]
    engine = start_engine(batch_wait_ms=20)

    answers = [
        engine.submit(generation(tokenizer, prompt, own))
        for prompt, own in zip(PROMPTS, samplings, strict=True)
    ]
    texts = [(await text_of(answer))[0] for answer in answers]

    assert texts == [
        alone(model, tokenizer, prompt, own) for prompt, own in zip(PROMPTS, samplings, strict=True)
    ]
    assert len(set(texts)) == len(texts)


async def test_a_request_joins_those_that_are_running(
    start_engine: StartEngine, tokenizer: Tokenizer
) -> None:
    engine = start_engine(max_num_seqs=2)
    long = engine.submit(generation(tokenizer, "The", Sampling(200, 1.0, 1.0, seed=5)))
    async for _ in long.deltas():
        break

    short = await text_of(engine.submit(generation(tokenizer, "A node", Sampling(2, 0))))

    assert short[2] == 2
    assert engine.running > 0  # the long one, which had begun before, is not done


async def test_a_long_prompt_is_read_in_pieces(
    start_engine: StartEngine,
    model: DeepseekV3ForCausalLM,
    tokenizer: Tokenizer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("deepseek_workloads.serve.engine.runner.PREFILL_TOKENS", 7)
    prompt = "The kernel schedules tasks; 内核调度任务。 A node runs pods.\n" * 2

    text, _, _ = await text_of(start_engine().submit(generation(tokenizer, prompt)))

    assert text == alone(model, tokenizer, prompt, GREEDY)


async def test_the_answer_ends_before_a_stop_string(start_engine: StartEngine, tokenizer: Tokenizer) -> None:
    engine = start_engine()
    whole, reason, _ = await text_of(engine.submit(generation(tokenizer, "The kernel")))
    assert reason == "length"
    stop = whole[3:7]

    text, reason, _ = await text_of(engine.submit(generation(tokenizer, "The kernel", GREEDY, stop)))

    assert (text, reason) == (whole[: whole.index(stop)], "stop")


async def test_a_cancelled_request_gives_its_place_to_the_next(
    start_engine: StartEngine, tokenizer: Tokenizer
) -> None:
    engine = start_engine(max_num_seqs=1)
    endless = Sampling(200, 1.0, 1.0, seed=1)
    first = engine.submit(generation(tokenizer, "The", endless))
    second = engine.submit(generation(tokenizer, "A", Sampling(1, 0)))
    await condition(lambda: engine.running == 1 and engine.queued == 1)

    first.cancel()

    assert (await text_of(second))[2] == 1
    await condition(lambda: engine.running == 0)


async def test_what_waits_beyond_the_limit_is_refused(
    start_engine: StartEngine, tokenizer: Tokenizer
) -> None:
    engine = start_engine(max_num_seqs=1, max_queued_requests=1)
    running = engine.submit(generation(tokenizer, "The", Sampling(200, 1.0, 1.0)))
    await condition(lambda: engine.running == 1)
    waiting = engine.submit(generation(tokenizer, "A"))

    with pytest.raises(QueueFull, match="1 requests are waiting"):
        engine.submit(generation(tokenizer, "A"))

    running.cancel()
    assert (await text_of(waiting))[1] is not None


async def test_an_unread_answer_holds_nobody_and_is_one_delta(
    start_engine: StartEngine, tokenizer: Tokenizer
) -> None:
    engine = start_engine()
    answer = engine.submit(generation(tokenizer, "The kernel"))
    await condition(lambda: engine.running == 0 and engine.queued == 0)
    await text_of(engine.submit(generation(tokenizer, "A")))

    deltas = [delta async for delta in answer.deltas()]

    assert [(delta.tokens, delta.finish_reason) for delta in deltas] == [(24, "length")]


def broken_for(model: DeepseekV3ForCausalLM, token: int) -> DeepseekV3ForCausalLM:
    """Gives NaN wherever this token is read."""
    broken = DeepseekV3ForCausalLM(model.architecture)
    broken.load_state_dict(model.state_dict())
    with torch.no_grad():
        broken.model.embed_tokens.weight[token] = float("nan")
    return broken.eval()


async def test_logits_that_are_not_finite_fail_one_request_and_the_engine_goes_on(
    start_engine: StartEngine, model: DeepseekV3ForCausalLM, tokenizer: Tokenizer
) -> None:
    poison = tokenizer.token_to_id("Z")
    engine = start_engine(other=broken_for(model, poison), batch_wait_ms=20)

    good, bad = engine.submit(generation(tokenizer, "The")), engine.submit(generation(tokenizer, "Z"))

    with pytest.raises(EngineError, match="not finite"):
        await text_of(bad)
    assert (await text_of(good))[0] == alone(model, tokenizer, "The", GREEDY)


async def test_a_step_that_fails_fails_its_requests_and_the_engine_goes_on(
    start_engine: StartEngine, tokenizer: Tokenizer
) -> None:
    engine = start_engine()
    outside_the_vocabulary = Generation((100_000,), GREEDY)

    with pytest.raises(EngineError, match="IndexError"):
        await text_of(engine.submit(outside_the_vocabulary))

    assert (await text_of(engine.submit(generation(tokenizer, "A"))))[1] is not None


@pytest.mark.parametrize("temperature", [1e-50, 5e-324, 1e-8])
async def test_a_temperature_that_no_float32_holds_is_greedy(
    start_engine: StartEngine, model: DeepseekV3ForCausalLM, tokenizer: Tokenizer, temperature: float
) -> None:
    sampling = Sampling(max_tokens=24, temperature=temperature, top_p=0.9)

    text, _, _ = await text_of(start_engine().submit(generation(tokenizer, "The kernel", sampling)))

    assert (
        text
        == alone(model, tokenizer, "The kernel", GREEDY)
        == alone(model, tokenizer, "The kernel", sampling)
    )


@pytest.mark.parametrize("at", [1, 3])
async def test_a_token_that_cannot_be_chosen_fails_its_request_and_no_other(
    start_engine: StartEngine,
    model: DeepseekV3ForCausalLM,
    tokenizer: Tokenizer,
    monkeypatch: pytest.MonkeyPatch,
    at: int,
) -> None:
    """The first one follows the prompt, later ones a step of the batch."""
    chosen = 0

    def fail_once(*_: object) -> int:
        nonlocal chosen
        chosen += 1
        if chosen == at:
            raise RuntimeError("probability tensor contains nan")
        return tokenizer.token_to_id("A") or 0

    monkeypatch.setattr("deepseek_workloads.serve.engine.engine.choose", fail_once)
    engine = start_engine(batch_wait_ms=20)

    good = engine.submit(generation(tokenizer, "The kernel"))
    bad = engine.submit(generation(tokenizer, "The", Sampling(max_tokens=24, temperature=1.0)))

    with pytest.raises(EngineError, match="RuntimeError"):
        await text_of(bad)
    assert (await text_of(good))[0] == alone(model, tokenizer, "The kernel", GREEDY)
    assert engine.alive


async def test_calls_that_wait_when_the_engine_ends_are_failed(start_engine: StartEngine) -> None:
    engine = start_engine()
    begun, go_on = threading.Event(), threading.Event()

    def hold(_: object) -> None:
        begun.set()
        go_on.wait(30)

    held = asyncio.ensure_future(engine.call(hold))
    await condition(begun.is_set)
    waiting = asyncio.ensure_future(engine.call(lambda _: None))
    await condition(lambda: engine.queued == 1)
    closing = asyncio.ensure_future(asyncio.to_thread(engine.close))
    await condition(lambda: engine._closed)
    go_on.set()

    await asyncio.gather(held, closing)
    async with asyncio.timeout(30):
        with pytest.raises(EngineError, match="has ended"):
            await waiting


async def test_a_call_gets_the_model_between_steps(
    start_engine: StartEngine, model: DeepseekV3ForCausalLM
) -> None:
    assert await start_engine().call(lambda given: given is model)


async def test_a_closed_engine_fails_what_it_has_and_takes_no_more(
    start_engine: StartEngine, tokenizer: Tokenizer
) -> None:
    engine = start_engine()
    answer = engine.submit(generation(tokenizer, "The", Sampling(200, 1.0, 1.0)))

    engine.close()

    with pytest.raises(EngineError):
        await text_of(answer)
    with pytest.raises(EngineError):
        engine.submit(generation(tokenizer, "A"))
    assert not engine.alive


async def test_the_observer_hears_of_every_answer(
    start_engine: StartEngine, tokenizer: Tokenizer, observer: object
) -> None:
    engine = start_engine()

    await text_of(engine.submit(generation(tokenizer, "A", Sampling(5, 0))))
    await condition(lambda: engine.running == 0)

    assert observer.answers == [(1, 5)]  # type: ignore[attr-defined]
    assert len(observer.first_tokens) == 1  # type: ignore[attr-defined]
