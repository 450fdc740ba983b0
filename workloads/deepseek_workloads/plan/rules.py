"""What must hold before a run may start. Pure: the operator refuses with it before any pod exists, and the
trainer with the same rules again.

Each rule names the field of the DeepSeekTrainingJob, the value, the rule and a remedy with the nearest valid
values. It knows nothing of clusters: whether nodes are there is the scheduler's business.
"""

from deepseek_workloads.contract.architecture import Architecture
from deepseek_workloads.contract.run_config import TrainingRun
from deepseek_workloads.plan import (
    architecture_rules,
    batch_rules,
    compile_rules,
    data_rules,
    distillation_rules,
    effect_rules,
    entrypoint_rules,
    layout_rules,
    module_rules,
    own_model_rules,
    replicas,
    training_rules,
    vision_rules,
    warmup_rules,
)
from deepseek_workloads.plan.architecture import ARCHITECTURE_FIELD
from deepseek_workloads.plan.memory_rules import check_memory
from deepseek_workloads.plan.problem import Problem

TOKENIZER_TOO_LARGE = "TokenizerTooLarge"

_RULES = (
    layout_rules.workers,
    layout_rules.degrees,
    layout_rules.combinations,
    layout_rules.layout,
    layout_rules.storage,
    layout_rules.horovod,
    batch_rules.batch,
    batch_rules.passes,
    batch_rules.found,
    batch_rules.sequence,
    architecture_rules.room_to_look_ahead,
    architecture_rules.room_for_an_image,
    batch_rules.schedule,
    data_rules.mixture,
    data_rules.skip,
    data_rules.packing,
    data_rules.long_conversations,
    data_rules.document_mask,
    module_rules.precision_overrides,
    module_rules.lora,
    module_rules.quantisation,
    module_rules.pruning,
    training_rules.undivided,
    training_rules.recomputed_stages,
    compile_rules.compiled,
    entrypoint_rules.entrypoint,
    training_rules.own_loss,
    distillation_rules.one_teacher,
    distillation_rules.stored_logits,
    own_model_rules.degrees,
    own_model_rules.settings,
    training_rules.float8,
    training_rules.float8_products,
    training_rules.lora,
    warmup_rules.trains_the_model,
    training_rules.quantisation,
    training_rules.curriculum,
    training_rules.pruning,
    training_rules.offloaded_pruning,
    training_rules.consolidation,
    training_rules.conversations,
    training_rules.answers,
    replicas.memory_replicas,
    vision_rules.learns_from_conversations,
    vision_rules.not_with,
    vision_rules.freeze,
    vision_rules.vision_init_from,
)

# Settings without an effect: a run that has them computes what it would without them.
_OF_A_NEW_RUN = (
    entrypoint_rules.around,
    effect_rules.of_another,
    effect_rules.unread_by_the_model,
    effect_rules.beyond_the_end,
    effect_rules.activation_alert,
    effect_rules.alert_shares,
    effect_rules.keep_best,
    distillation_rules.has_effect,
    module_rules.initialization,
    module_rules.precision_has_effect,
    data_rules.capacity_of_documents,
    warmup_rules.has_no_effect,
)

_OF_ARCHITECTURE = (
    architecture_rules.expert_groups,
    architecture_rules.heads,
    architecture_rules.indexer,
    architecture_rules.gates_and_dropout,
    architecture_rules.dropout_rates,
    architecture_rules.softmax_scores,
    architecture_rules.shapes,
    architecture_rules.vision,
)


def check_training(run: TrainingRun, *, begun: bool = False) -> list[Problem]:
    """Every rule that the run config alone can decide; an empty list means: go. Of a run that has `begun`,
    only those without which it would compute something else, or nothing: that it fits, it has shown."""
    problems = check_architecture(run.architecture)
    for rule in _RULES if begun else (*_RULES, *_OF_A_NEW_RUN):
        problems += rule(run)
    return problems if problems or begun else check_memory(run)


def check_architecture(architecture: Architecture) -> list[Problem]:
    """Whether the sizes of an architecture go together."""
    return [problem for rule in _OF_ARCHITECTURE for problem in rule(architecture)]


def check_tokenizer(architecture: Architecture, *, vocab_size: int) -> list[Problem]:
    """`vocab_size` is the tokenizer's number of ids, special tokens included."""
    if vocab_size <= architecture.vocab_size:
        return []
    padded = -(-vocab_size // 128) * 128
    return [
        Problem(
            field=f"{ARCHITECTURE_FIELD}.vocabSize",
            value=str(architecture.vocab_size),
            rule=f"must be at least the tokenizer's {vocab_size} tokens",
            remedy=f"use vocabSize {padded}, or a dataset prepared with a smaller vocabulary",
            reason=TOKENIZER_TOO_LARGE,
        )
    ]
