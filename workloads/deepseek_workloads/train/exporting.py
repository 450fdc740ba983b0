"""From the state that a model holds to an export: weights, tokenizer, provenance, a little held-out text.

Which checkpoint that is, and who records the export, is the caller's business.
"""

from collections.abc import Mapping

import torch
from tokenizers import Tokenizer
from torch import Tensor

from deepseek_workloads.contract.records import BaseExport, Provenance
from deepseek_workloads.export.files import ExportTokenizer, custom_files
from deepseek_workloads.export.held_out import held_out_texts
from deepseek_workloads.export.publish import MAX_SHARD_BYTES, Export, export_model, publish
from deepseek_workloads.plan.custom_model import MODEL_TYPE
from deepseek_workloads.store.log import CheckpointEntry
from deepseek_workloads.train.lora import merge
from deepseek_workloads.train.opened import Opened
from deepseek_workloads.train.parallelise import ParallelModel
from deepseek_workloads.train.quantise import round_state, stored_as_int8
from deepseek_workloads.train.registered import own_state


def export_state(
    opened: Opened, model: ParallelModel, entry: CheckpointEntry, figures: Mapping[str, float]
) -> Export:
    """A collective: of the state that `model` holds, which is that of the checkpoint `entry`."""
    training, state = opened.run.training, model.whole_state(opened.group)
    if opened.run.model_function is not None:
        return _export_custom(opened, model, state, entry, figures)
    if training.lora is not None:
        state = merge(state, training.lora.scale)
    int8: set[str] = set()
    if training.quantisation is not None:
        int8 = stored_as_int8(model.deepseek, training.quantisation, opened.run.architecture)
        state = round_state(model.deepseek, state, training.quantisation, but=int8)

    def export() -> Export:
        return export_model(
            opened.store,
            state=state,
            architecture=opened.run.architecture,
            tokenizer=_tokenizer(opened),
            provenance=_provenance(opened, entry),
            evaluation=figures,
            held_out=_held_out(opened),
            dtype=torch.bfloat16 if training.precision in ("bf16", "fp8") else torch.float32,
            int8=int8,
        )

    return opened.group.on_rank_zero(export)


def _export_custom(
    opened: Opened,
    model: ParallelModel,
    state: dict[str, Tensor],
    entry: CheckpointEntry,
    figures: Mapping[str, float],
) -> Export:
    """By the user's own names and as the weights are: no other code would know what to round."""
    size = sum(parameter.numel() for parameter in model.plain.parameters())

    def export() -> Export:
        files = custom_files(
            own_state(state),
            function=opened.run.model_function or "",
            architecture=opened.run.architecture,
            tokenizer=_tokenizer(opened),
            held_out=_held_out(opened),
            max_shard_bytes=MAX_SHARD_BYTES,
        )
        return publish(
            opened.store,
            files,
            provenance=_provenance(opened, entry),
            evaluation=figures,
            parameters=size,
            model=MODEL_TYPE,
        )

    return opened.group.on_rank_zero(export)


def _held_out(opened: Opened) -> list[str]:
    """Of the windows that the evaluation reads."""
    plan = opened.data.plan
    batches = opened.data.held_out.batches(
        rank=0, world_size=1, micro_batch_size=1, max_samples=opened.run.evaluation.max_samples
    )
    tokenizer = Tokenizer.from_str(opened.data.tokenizer_document().decode())
    windows = [batch.rows.tokens(0) for batch in batches]
    return held_out_texts(windows, decode=tokenizer.decode, eos_token_id=plan.manifests[0].eos_token_id)


def _tokenizer(opened: Opened) -> ExportTokenizer:
    manifest = opened.data.plan.manifests[0]
    return ExportTokenizer(
        opened.data.tokenizer_document(),
        manifest.bos_token_id,
        manifest.eos_token_id,
        manifest.pad_token_id,
        manifest.chat_template,
    )


def _provenance(opened: Opened, entry: CheckpointEntry) -> Provenance:
    """Of the checkpoint, not of the epoch that exports it: a repetition must give the same digest."""
    owner, record, base = opened.run.owner, entry.record, opened.run.init_from
    encoder = opened.run.vision_init_from
    return Provenance(
        owner_namespace=owner.namespace,
        owner_name=owner.name,
        owner_uid=owner.uid,
        epoch=record.epoch,
        step=record.step,
        consumed_samples=record.consumed_samples,
        checkpoint_prefix=record.prefix,
        run_config_digest=opened.epoch.run_config_digest,
        dataset_digests=list(opened.data.digests),
        init_from=BaseExport(uri=base.uri, digest=base.digest) if base else None,
        vision_init_from=BaseExport(uri=encoder.uri) if encoder else None,
    )
