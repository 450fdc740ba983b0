"""`make bench-serve`: milliseconds a generated token, of 1 and 8 requests at once, against Hugging Face.

The engine of a replica without HTTP and Ray around it, and `transformers`' generate on the same weights,
prompts and number of tokens: greedy, fp32, one thread, in turns.
"""

import argparse
import asyncio
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from report import Point, emit, say
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

from deepseek_workloads.contract.run_config import Engine as EngineSettings
from deepseek_workloads.export.files import CONFIG
from deepseek_workloads.export.generate import Sampling
from deepseek_workloads.model.causal_lm import DeepseekV3ForCausalLM
from deepseek_workloads.model.hugging_face import to_hugging_face
from deepseek_workloads.plan.hugging_face_config import config_json
from deepseek_workloads.plan.presets import PRESETS
from deepseek_workloads.serve.engine.answer import Answer, Generation
from deepseek_workloads.serve.engine.engine import Engine
from deepseek_workloads.serve.metrics import ServingMetrics

PRESET = "deepseek-v3-tiny"
RUNS = 5
CONCURRENCY = (1, 8)
PROMPT_TOKENS, NEW_TOKENS = 64, 128
Prompts = Sequence[Sequence[int]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=RUNS)
    runs = parser.parse_args().runs
    torch.set_num_threads(1)
    architecture = PRESETS[PRESET]
    model = DeepseekV3ForCausalLM(architecture)
    model.init_weights(0)
    peer = hugging_face(model.eval())
    generator = torch.Generator().manual_seed(1)
    for concurrency in CONCURRENCY:
        shape = (concurrency, PROMPT_TOKENS)
        prompts = torch.randint(0, architecture.vocab_size, shape, generator=generator).tolist()
        ours, theirs = [], []
        for number in range(runs + 1):
            pair = asyncio.run(by_engine(model, prompts)), by_hugging_face(peer, prompts)
            say(f"{concurrency} at once, run {number}: {pair[0]:.2f} ms a token, peer {pair[1]:.2f}")
            if number:  # the first pair warms up
                ours.append(pair[0])
                theirs.append(pair[1])
        name = f"{PRESET}-fp32-{concurrency}"
        peer_name = "transformers generate"
        emit(Point("serve", name, ours, unit="ms/token", peer=peer_name, peer_values=theirs))


async def by_engine(model: DeepseekV3ForCausalLM, prompts: Prompts) -> float:
    """Milliseconds a token, over all requests."""
    settings = EngineSettings(max_num_seqs=len(prompts), batch_wait_ms=0)
    # Text costs little and has no peer in `generate`, which gives ids.
    engine = Engine(
        model, decode=lambda _: "", eos_token_id=None, settings=settings, observer=ServingMetrics()
    )
    engine.start()
    sampling = Sampling(max_tokens=NEW_TOKENS, temperature=0)
    begun = time.perf_counter()
    tokens = await asyncio.gather(
        *(count(engine.submit(Generation(tuple(prompt), sampling))) for prompt in prompts)
    )
    seconds = time.perf_counter() - begun
    engine.close()
    return 1000 * seconds / sum(tokens)


async def count(answer: Answer) -> int:
    return sum([delta.tokens async for delta in answer.deltas()])


@torch.inference_mode()
def by_hugging_face(peer: Any, prompts: Prompts) -> float:
    ids = torch.tensor(prompts)
    begun = time.perf_counter()
    peer.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        max_new_tokens=NEW_TOKENS,
        min_new_tokens=NEW_TOKENS,
        do_sample=False,
        pad_token_id=0,
    )
    return 1000 * (time.perf_counter() - begun) / (len(prompts) * NEW_TOKENS)


def hugging_face(model: DeepseekV3ForCausalLM) -> Any:
    """The same weights in `transformers`' model."""
    with tempfile.TemporaryDirectory() as folder:
        config = config_json(model.architecture, dtype="float32")
        (Path(folder) / CONFIG).write_text(json.dumps(config))
        state = {
            name: tensor.clone().contiguous()
            for name, tensor in to_hugging_face(model.state_dict().items(), model.architecture)
        }
        save_file(state, Path(folder) / "model.safetensors", metadata={"format": "pt"})
        return AutoModelForCausalLM.from_pretrained(folder).eval()


if __name__ == "__main__":
    main()
