"""A constant load on a served model, from a process of its own: whole answers and streams, no client retries.

    OPENAI_API_KEY=... python -m harness.serving_load URL MODEL

It sends until its standard input is closed, finishes what it has begun, and prints what became of it as JSON:
by kind of client, requests, failures in words, and answers by system_fingerprint.
"""

import asyncio
import json
import os
import sys
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field

import aiohttp

PAUSE_SECONDS = 0.5
TIMEOUT_SECONDS = 60
PROMPT = "The"
DONE = "[DONE]"
API_KEY_VARIABLE = "OPENAI_API_KEY"


def authorization(api_key: str) -> dict[str, str]:
    """The header of a request; none without a key."""
    return {"Authorization": f"Bearer {api_key}"} if api_key else {}


@dataclass
class Tally:
    requests: int = 0
    failures: list[str] = field(default_factory=list)
    fingerprints: dict[str, int] = field(default_factory=dict)  # how many answers had each


@dataclass(frozen=True)
class Target:
    url: str
    model: str
    api_key: str

    def body(self, *, tokens: int, stream: bool) -> dict[str, object]:
        body: dict[str, object] = {"model": self.model, "prompt": PROMPT, "max_tokens": tokens}
        return body | {"temperature": 0, "stream": stream}


async def whole_answer(session: aiohttp.ClientSession, target: Target) -> str:
    """The fingerprint of the answer. Raises what stands between."""
    body = target.body(tokens=4, stream=False)
    async with session.post(f"{target.url}/v1/completions", json=body, raise_for_status=True) as response:
        answer = await response.json()
    assert answer["usage"]["completion_tokens"] > 0, answer
    return str(answer["system_fingerprint"])


async def stream(session: aiohttp.ClientSession, target: Target) -> str:
    """As `whole_answer`; a stream that does not end as it should is a failure."""
    fingerprint, last = "", ""
    body = target.body(tokens=48, stream=True)
    async with session.post(f"{target.url}/v1/completions", json=body, raise_for_status=True) as response:
        async for line in response.content:
            if not line.startswith(b"data: "):
                continue
            last = line.decode().removeprefix("data: ").strip()
            if last != DONE:
                fingerprint = json.loads(last)["system_fingerprint"]
    assert last == DONE, f"the stream ended with {last!r}"
    return str(fingerprint)


async def client(
    target: Target,
    ask: Callable[[aiohttp.ClientSession, Target], Awaitable[str]],
    tally: Tally,
    stop: asyncio.Event,
    *,
    keep_alive: bool,
) -> None:
    connector = aiohttp.TCPConnector(force_close=not keep_alive)
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
    async with aiohttp.ClientSession(
        connector=connector, timeout=timeout, headers=authorization(target.api_key)
    ) as session:
        while not stop.is_set():
            tally.requests += 1
            try:
                fingerprint = await ask(session, target)
                tally.fingerprints[fingerprint] = tally.fingerprints.get(fingerprint, 0) + 1
            except (aiohttp.ClientError, TimeoutError, AssertionError, ValueError, KeyError) as error:
                tally.failures.append(f"{type(error).__name__}: {error}")
            await asyncio.sleep(PAUSE_SECONDS)


async def run(target: Target) -> dict[str, Tally]:
    stop = asyncio.Event()
    tallies = {"keep-alive": Tally(), "new connections": Tally(), "streams": Tally()}
    async with asyncio.TaskGroup() as group:
        for name, ask, keep_alive in (
            ("keep-alive", whole_answer, True),
            ("new connections", whole_answer, False),
            ("streams", stream, True),
            ("streams", stream, True),
        ):
            group.create_task(client(target, ask, tallies[name], stop, keep_alive=keep_alive))
        await asyncio.to_thread(sys.stdin.read)
        stop.set()
    return tallies


def main() -> None:
    target = Target(url=sys.argv[1], model=sys.argv[2], api_key=os.environ.get(API_KEY_VARIABLE, ""))
    tallies = asyncio.run(run(target))
    print(json.dumps({name: asdict(tally) for name, tally in tallies.items()}))


if __name__ == "__main__":
    main()
