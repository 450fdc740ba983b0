"""The model in each layout that training uses, run by gloo ranks; spawned ranks import it by name."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from small_architectures import with_moe
from tokenizers import Tokenizer, models
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.parallel import DistributedDataParallel

from deepseek_workloads.contract.records import Provenance
from deepseek_workloads.export.files import ExportTokenizer
from deepseek_workloads.export.load import open_export
from deepseek_workloads.export.publish import export_model
from deepseek_workloads.export.stream_weights import load_weights
from deepseek_workloads.model.causal_lm import DeepseekV3ForCausalLM
from deepseek_workloads.model.trainable import LossParts
from deepseek_workloads.store.file import FileObjectStore
from deepseek_workloads.train.group import TorchGroup

RANKS = 2
ARCHITECTURE = with_moe(sequence_balance_loss_weight=0.1).model_copy(update={"num_nextn_predict_layers": 1})
_POLICY = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)


def made() -> DeepseekV3ForCausalLM:
    model = DeepseekV3ForCausalLM(ARCHITECTURE)
    model.init_weights(7)
    return model


def sharded(*, reshard: bool, policy: MixedPrecisionPolicy | None = None) -> DeepseekV3ForCausalLM:
    """Made without memory, sharded, and only then given its weights."""
    mesh = init_device_mesh("cpu", (RANKS,))
    with torch.device("meta"):
        model = DeepseekV3ForCausalLM(ARCHITECTURE)
    options = {"mesh": mesh, "reshard_after_forward": reshard, "mp_policy": policy or MixedPrecisionPolicy()}
    for layer in model.layers():
        fully_shard(layer, **options)
    fully_shard(model, **options)
    model.to_empty(device="cpu")
    model.init_weights(7)
    return model


def replicated() -> Any:
    return DistributedDataParallel(made())


LAYOUTS: dict[str, Callable[[], Any]] = {
    "replicated": replicated,
    "sharded, kept after forward": lambda: sharded(reshard=False),
    "sharded, freed after forward": lambda: sharded(reshard=True),
    "sharded, bfloat16": lambda: sharded(reshard=True, policy=_POLICY),
}


def export_to(directory: str, provenance: Provenance) -> None:
    """The model of one process, for the ranks to start from."""
    tokenizer = Tokenizer(models.WordLevel({"t0": 0}, "t0")).to_str().encode()
    export = export_model(
        FileObjectStore(Path(directory)),
        state=made().state_dict(),
        architecture=ARCHITECTURE,
        tokenizer=ExportTokenizer(tokenizer),
        provenance=provenance,
        evaluation={},
        max_shard_bytes=40_000,
    )
    (Path(directory) / "digest").write_text(export.digest)


def streamed(rank: int, directory: str) -> dict[str, torch.Tensor]:
    """Weights that sharded ranks with others have taken from an export."""
    model = sharded(reshard=True)
    model.init_weights(8)
    reader = open_export(FileObjectStore(Path(directory)), (Path(directory) / "digest").read_text())
    load_weights(reader, model, ARCHITECTURE, group=TorchGroup(rank, RANKS, torch.device("cpu")))
    return {key: whole(value.detach()).clone() for key, value in model.named_parameters()}


def whole(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def of_rank(rank: int, directory: str, ids: torch.Tensor) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{directory}/rendezvous", rank=rank, world_size=RANKS)
    seen = {}
    for name, make in LAYOUTS.items():
        model = make()
        plain = getattr(model, "module", model)
        weights = {key: whole(value.detach()).clone() for key, value in plain.named_parameters()}
        mine = ids.chunk(RANKS)[rank]
        parts: LossParts = model(mine[:, :-1], mine[:, 1:])
        parts.loss.backward()
        counts = parts.expert_counts.clone()
        dist.all_reduce(counts)
        gradients = {key: whole(value.grad) for key, value in plain.named_parameters()}
        seen[name] = {"weights": weights, "gradients": gradients, "counts": counts}
    seen["streamed"] = {"weights": streamed(rank, directory)}
    if rank == 0:
        torch.save(seen, f"{directory}/seen.pt")
    dist.barrier()
    dist.destroy_process_group()
