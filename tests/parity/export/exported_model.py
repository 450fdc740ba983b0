"""A trained-looking tiny model with a real byte-level BPE, exported once to a folder store."""

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from small_architectures import BASE
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from deepseek_workloads.contract.architecture import Architecture, RopeScaling
from deepseek_workloads.contract.records import Provenance
from deepseek_workloads.export.files import ExportTokenizer
from deepseek_workloads.export.publish import Export, export_model
from deepseek_workloads.model.causal_lm import DeepseekV3ForCausalLM
from deepseek_workloads.store.file import FileObjectStore

VOCABULARY = 300
TEXT = "The kernel schedules tasks; 内核调度任务。 A node runs pods.\n"


@dataclass(frozen=True)
class Exported:
    model: DeepseekV3ForCausalLM
    architecture: Architecture
    tokenizer: Tokenizer
    export: Export
    root: Path  # of the job's storage

    @property
    def store(self) -> FileObjectStore:
        return FileObjectStore(self.root)


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<|begin_of_text|>", "<|end_of_text|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator([TEXT] * 20, trainer)
    return made


@pytest.fixture(scope="session")
def export_tokenizer(tokenizer: Tokenizer) -> ExportTokenizer:
    return ExportTokenizer(
        tokenizer.to_str().encode(),
        bos_token_id=tokenizer.token_to_id("<|begin_of_text|>"),
        eos_token_id=tokenizer.token_to_id("<|end_of_text|>"),
    )


@pytest.fixture(scope="session")
def architecture() -> Architecture:
    return BASE.model_copy(
        update={
            "vocab_size": VOCABULARY + 20,  # padded, as vocabularies are
            "rope_scaling": RopeScaling(factor=4, original_max_position_embeddings=32),
        }
    )


@pytest.fixture(scope="session")
def model(architecture: Architecture) -> DeepseekV3ForCausalLM:
    made = DeepseekV3ForCausalLM(architecture)
    made.init_weights(11)
    with torch.no_grad():
        for name, tensor in made.state_dict().items():
            if name.endswith("bias"):
                tensor += 0.05 * torch.randn(tensor.shape, generator=torch.Generator().manual_seed(1))
            elif "norm" not in name:
                tensor *= 4
    return made.eval()


@pytest.fixture(scope="session")
def exported(
    model: DeepseekV3ForCausalLM,
    architecture: Architecture,
    tokenizer: Tokenizer,
    export_tokenizer: ExportTokenizer,
    provenance: Provenance,
    tmp_path_factory: pytest.TempPathFactory,
) -> Exported:
    root = tmp_path_factory.mktemp("storage")
    export = export_model(
        FileObjectStore(root),
        state=model.state_dict(),
        architecture=architecture,
        tokenizer=export_tokenizer,
        provenance=provenance,
        evaluation={"held_out_bits_per_byte": 1.5},
    )
    return Exported(model, architecture, tokenizer, export, root)
