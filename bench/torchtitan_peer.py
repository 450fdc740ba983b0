"""torchtitan's deepseek_v3 as a peer: a process of its own environment (`peers/train.py`), with our weights.

It does not know what it is measured against.
"""

import json
import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
from safetensors.torch import save_file
from torch import Tensor
from training_step import CLIP_NORM, OPTIMIZER, our_model

from deepseek_workloads.contract.architecture import Architecture
from deepseek_workloads.model.hugging_face import to_hugging_face
from deepseek_workloads.plan.hugging_face_config import config_json

PROGRAM = Path(__file__).parent / "peers" / "train.py"
_UNKNOWN = ("rope_scaling", "tie_word_embeddings", "num_nextn_predict_layers", "attention_bias")


@dataclass(frozen=True)
class TorchtitanSetting:
    """What torchtitan lets a user choose of how it computes, and a CPU can."""

    loss_chunks: int  # of a sequence, whose logits are in memory one by one; its configs have 8

    def __str__(self) -> str:
        chunks = f"{self.loss_chunks} chunks" if self.loss_chunks > 1 else "one piece"
        return f"torchtitan, sdpa, loss in {chunks}"


TORCHTITAN_SETTINGS = (TorchtitanSetting(8), TorchtitanSetting(1))


@dataclass(frozen=True)
class TimedStep:
    loss: float  # before the update
    wall: float  # seconds
    cpu: float  # seconds of processor time


class Torchtitan:
    """A process that holds one model at a time; a context manager, at whose end it ends."""

    def __init__(self, python: Path, program: Path = PROGRAM) -> None:
        """`python` is the interpreter of the peer's environment."""
        environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        self._process = subprocess.Popen(
            [str(python), str(program)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environ,
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    def load(
        self, architecture: Architecture, dtype: torch.dtype, setting: TorchtitanSetting, ids: Tensor
    ) -> None:
        """A new model of our first weights for steps over `ids`, int64 [B, T+1].

        Raises ValueError for what torchtitan's model has not, RuntimeError where its torch is not ours.
        """
        request = {
            **dimensions(config_json(architecture, dtype="float32"), length=ids.shape[1] - 1),
            "bf16": dtype == torch.bfloat16,
            "loss_chunks": setting.loss_chunks,
            "clip_norm": CLIP_NORM,
            "adamw": {
                "lr": OPTIMIZER.learning_rate,
                "betas": (OPTIMIZER.beta1, OPTIMIZER.beta2),
                "eps": OPTIMIZER.epsilon,
                "weight_decay": OPTIMIZER.weight_decay,
            },
        }
        with tempfile.TemporaryDirectory(prefix="bench-train-") as folder:
            files = {name: f"{folder}/{name}.safetensors" for name in ("weights", "batch")}
            stored = to_hugging_face(our_model(architecture).state_dict().items(), architecture)
            save_file({name: tensor.clone() for name, tensor in stored}, files["weights"])
            save_file({"ids": ids}, files["batch"])
            versions = self._ask({**request, **files})
        if versions["torch"] != torch.__version__:
            raise RuntimeError(
                f"torch {versions['torch']} in torchtitan's environment, {torch.__version__} here: both have "
                "the same; set it in bench/peers/train.in and compile train.txt again"
            )

    def step(self) -> TimedStep:
        return TimedStep(**self._ask(None))

    def _ask(self, request: Mapping[str, Any] | None) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            raise RuntimeError(f"torchtitan's process ended with {self._process.wait()}: its error is above")
        return dict(json.loads(answer))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()


def dimensions(config: Mapping[str, Any], *, length: int) -> dict[str, Any]:
    """Of config.json in torchtitan's terms; `length` is tokens a sequence.

    Raises ValueError for what torchtitan's deepseek_v3 has not, or not in the same form.
    """
    unknown = {key: config[key] for key in _UNKNOWN if config[key]}
    if unknown:
        raise ValueError(f"{unknown}: torchtitan is compared without them; leave them out of the model")
    return {
        "dim": config["hidden_size"],
        "vocab_size": config["vocab_size"],
        "norm_epsilon": config["rms_norm_eps"],
        "rope": {
            "dim": config["qk_rope_head_dim"],
            "max_seq_len": length,
            "theta": config["rope_theta"],
        },
        "layers": {
            **{theirs: config[ours] for theirs, ours in _LAYERS},
            "mscale": 1.0,  # of YaRN only
            "moe_comm_backend": "standard",
            "non_blocking_capacity_factor": None,
        },
    }


_LAYERS: Sequence[tuple[str, str]] = (
    ("n_layers", "num_hidden_layers"),
    ("n_dense_layers", "first_k_dense_replace"),
    ("n_heads", "num_attention_heads"),
    ("q_lora_rank", "q_lora_rank"),
    ("kv_lora_rank", "kv_lora_rank"),
    ("qk_nope_head_dim", "qk_nope_head_dim"),
    ("qk_rope_head_dim", "qk_rope_head_dim"),
    ("v_head_dim", "v_head_dim"),
    ("dense_hidden_dim", "intermediate_size"),
    ("moe_hidden_dim", "moe_intermediate_size"),
    ("num_experts", "n_routed_experts"),
    ("num_shared_experts", "n_shared_experts"),
    ("router_top_k", "num_experts_per_tok"),
    ("router_score_func", "scoring_func"),
    ("router_num_expert_groups", "n_group"),
    ("router_num_limited_groups", "topk_group"),
    ("router_route_scale", "routed_scaling_factor"),
    ("router_route_norm", "norm_topk_prob"),
)
