"""A tiny random model with a byte-level tokenizer: small enough for a step in a millisecond."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from deepseek_workloads.contract.architecture import Architecture, MoE
from deepseek_workloads.contract.records import ExportManifest, Provenance
from deepseek_workloads.contract.run_config import Engine as EngineSettings
from deepseek_workloads.export.load import LoadedExport
from deepseek_workloads.model.causal_lm import DeepseekV3ForCausalLM
from deepseek_workloads.serve.engine.engine import Engine, Observer
from deepseek_workloads.serve.served_model import ServedModel, served_model

ARCHITECTURE = Architecture(
    vocab_size=304,
    hidden_size=32,
    intermediate_size=48,
    num_hidden_layers=2,
    num_attention_heads=2,
    q_lora_rank=16,
    kv_lora_rank=16,
    qk_nope_head_dim=8,
    qk_rope_head_dim=8,
    v_head_dim=8,
    max_position_embeddings=256,
    moe=MoE(n_routed_experts=4, num_experts_per_tok=2, moe_intermediate_size=16),
)
EOS = 1
DIGEST = "sha256:0123456789abcdef" + "7" * 48


@dataclass
class SeenByObserver:
    first_tokens: list[float] = field(default_factory=list)
    answers: list[tuple[int, int]] = field(default_factory=list)  # tokens of prompt and answer

    def first_token(self, seconds: float) -> None:
        self.first_tokens.append(seconds)

    def finished(self, *, prompt_tokens: int, tokens: int, seconds_per_token: float | None) -> None:
        self.answers.append((prompt_tokens, tokens))


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<|begin_of_text|>", "<|end_of_text|>"],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    made.train_from_iterator(["The kernel schedules tasks; 内核调度任务。 A node runs pods.\n"] * 20, trainer)
    return made


@pytest.fixture(scope="session")
def model() -> DeepseekV3ForCausalLM:
    """With weights large enough that the next token is not the same for every prompt."""
    made = DeepseekV3ForCausalLM(ARCHITECTURE)
    made.init_weights(11)
    with torch.no_grad():
        for name, tensor in made.state_dict().items():
            if "norm" not in name and not name.endswith("bias"):
                tensor *= 5
    return made.eval()


@pytest.fixture(scope="session")
def chat(model: DeepseekV3ForCausalLM, tokenizer: Tokenizer, provenance: Provenance) -> ServedModel:
    manifest = ExportManifest(files=[], provenance=provenance, parameters=1)
    export = LoadedExport(model, tokenizer, manifest, DIGEST, eos_token_id=1, tokenizer_config={})
    return served_model(export, name="chat", max_model_len=128)


StartEngine = Callable[..., Engine]


@pytest.fixture
def observer() -> SeenByObserver:
    return SeenByObserver()


@pytest.fixture
def start_engine(
    model: DeepseekV3ForCausalLM, tokenizer: Tokenizer, observer: SeenByObserver
) -> Iterator[StartEngine]:
    """Settings by name; model and observer may be others."""
    started: list[Engine] = []

    def start(
        *, other: DeepseekV3ForCausalLM | None = None, watched_by: Observer = observer, **settings: int
    ) -> Engine:
        engine = Engine(
            other or model,
            decode=tokenizer.decode,
            eos_token_id=EOS,
            settings=EngineSettings.model_validate({"batch_wait_ms": 0, **settings}),
            observer=watched_by,
        )
        engine.start()
        started.append(engine)
        return engine

    yield start
    for engine in started:
        engine.close()
