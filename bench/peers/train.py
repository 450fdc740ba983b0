"""torchtitan's deepseek_v3 in the peer's environment (train.txt): loads a model, times each step.

Its own parts: the layers of its registry, its adapter of Hugging Face's weights, its loss (in chunks, as its
configs have it), its container of optimizers, its update of the router's biases and its clipping. Told by us:
attention is its `ScaledDotProductAttention`, as its registry's flex_attention has no backward pass on a CPU
and varlen is of CUDA; bf16 is autocast, as on the other sides; its experts, always bf16, are float32 in
float32.

A request is a line of JSON on standard input, an answer a line on standard output. It does not know who asks.
"""

import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor
from torchtitan.components.loss import ChunkedLossWrapper, CrossEntropyLoss
from torchtitan.components.optimizer import (
    OptimizersContainer,
    ParamGroupConfig,
    register_moe_load_balancing_hook,
)
from torchtitan.distributed.utils import clip_grad_norm_
from torchtitan.models.common import ComplexRoPE, Embedding, Linear, RMSNorm
from torchtitan.models.common.attention import ScaledDotProductAttention
from torchtitan.models.common.moe import GroupedExperts
from torchtitan.models.deepseek_v3 import DeepSeekV3Model, build_mla_moe_layers
from torchtitan.models.deepseek_v3.state_dict_adapter import DeepSeekV3StateDictAdapter

_OURS: Mapping[str, Any] = {  # weights are loaded: nothing is initialized
    "linear_init": {},
    "norm_init": {},
    "depth_init": lambda _layer: {},
    "depth_experts_init": lambda _layer: {},
}
# In place of its ParallelDims, whose meshes are of an accelerator: one process, nothing to reduce over.
_ALONE = SimpleNamespace(ep_enabled=False, get_optional_mesh=lambda _axis: None)
Answer = Mapping[str, Any]


class Float32Experts(GroupedExperts):  # type: ignore[misc]
    """torchtitan's experts without their casts to bf16: the same grouped products."""

    @dataclass(kw_only=True, slots=True)
    class Config(GroupedExperts.Config):  # type: ignore[misc]
        pass

    def forward(self, x_RD: Tensor, num_tokens_per_expert_E: Tensor) -> Tensor:
        offsets = torch.cumsum(num_tokens_per_expert_E, dim=0, dtype=torch.int32)
        gate, up, down = (w.transpose(-2, -1) for w in (self.w1_EFD, self.w3_EFD, self.w2_EDF))
        hidden = F.silu(self._grouped_mm(A=x_RD, B_t=gate, offs=offsets))
        hidden = hidden * self._grouped_mm(A=x_RD, B_t=up, offs=offsets)
        product: Tensor = self._grouped_mm(A=hidden, B_t=down, offs=offsets)
        return product


def model_config(request: Mapping[str, Any]) -> Any:
    hidden, vocabulary, epsilon = (request[key] for key in ("dim", "vocab_size", "norm_epsilon"))
    rope = ComplexRoPE.Config(**request["rope"])
    layers = build_mla_moe_layers(**request["layers"], **_OURS, dim=hidden, rope=rope, attn_backend="varlen")
    for layer in layers:
        layer.attention.inner_attention = ScaledDotProductAttention.Config()
        if layer.moe is not None and not request["bf16"]:
            routed = layer.moe.routed_experts
            theirs = routed.inner_experts
            routed.inner_experts = Float32Experts.Config(
                dim=theirs.dim, hidden_dim=theirs.hidden_dim, num_experts=theirs.num_experts
            )
    config = DeepSeekV3Model.Config(
        vocab_size=vocabulary,
        dim=hidden,
        tok_embeddings=Embedding.Config(num_embeddings=vocabulary, embedding_dim=hidden),
        norm=RMSNorm.Config(normalized_shape=hidden),
        lm_head=Linear.Config(in_features=hidden, out_features=vocabulary),
        layers=layers,
        mtp_layers=[],
    )
    for _name, norm, _parent, _field in config.traverse(RMSNorm.Config):
        norm.eps = epsilon
    return config


def load(request: Mapping[str, Any]) -> Callable[[], Answer]:
    """`weights` and `batch` are safetensors files: tensors by Hugging Face's names, and `ids` [B, T+1]."""
    config = model_config(request)
    model = DeepSeekV3Model(config)
    weights = DeepSeekV3StateDictAdapter(config, None).from_hf(load_file(request["weights"]))
    model.load_state_dict(weights, strict=True)
    model.train()
    loss_of = CrossEntropyLoss.Config(global_vocab_size=config.vocab_size)
    if request["loss_chunks"] > 1:
        criterion = ChunkedLossWrapper.Config(num_chunks=request["loss_chunks"], loss_fn=loss_of).build()
        model._skip_lm_head = True
        criterion.set_lm_head(model.lm_head)
    else:
        criterion = loss_of.build()
    adamw = request["adamw"]
    groups = [
        ParamGroupConfig(
            pattern=pattern, optimizer_name="AdamW", optimizer_kwargs={**adamw, "weight_decay": decay}
        )
        for pattern, decay in ((r"norm", 0.0), (r".*", adamw["weight_decay"]))
    ]
    optimizers = OptimizersContainer.Config(param_groups=groups).build(model_parts=[model])
    register_moe_load_balancing_hook(optimizers, [model], _ALONE)
    parameters = list(model.parameters())
    ids = load_file(request["batch"])["ids"]
    inputs, labels = ids[:, :-1].contiguous(), ids[:, 1:].contiguous()
    count = torch.tensor(float(labels.numel()))

    def step() -> Answer:
        begun = time.perf_counter(), time.process_time()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=request["bf16"]):
            loss, _metrics = criterion(model(inputs), labels, count)
        loss.backward()
        clip_grad_norm_(parameters, request["clip_norm"], foreach=True)
        optimizers.step()
        optimizers.zero_grad()
        seconds = {"wall": time.perf_counter() - begun[0], "cpu": time.process_time() - begun[1]}
        return {"loss": loss.item(), **seconds}

    return step


def main() -> None:
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a library prints is no answer
    torch.set_num_threads(1)
    step: Callable[[], Answer] | None = None
    for line in sys.stdin:
        request = json.loads(line)
        if request is not None:
            step = None  # the former model goes first
            step = load(request)
            answer: Answer = {"torch": torch.__version__, "torchtitan": version("torchtitan")}
        else:
            assert step is not None, "a step before a model was loaded"
            answer = step()
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
