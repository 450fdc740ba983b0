"""With an indexer the model computes what Hugging Face's DeepseekV32ForCausalLM does; the indexer learns."""

import pytest
import torch
from hugging_face_oracle import token_ids
from small_architectures import SPARSE, YARN
from transformers import DeepseekV32Config
from transformers import DeepseekV32ForCausalLM as Oracle

from deepseek_workloads.contract.architecture import Architecture
from deepseek_workloads.model.batch_cache import BatchCaches
from deepseek_workloads.model.causal_lm import DeepseekV3ForCausalLM
from deepseek_workloads.plan.hugging_face_config import config_json
from deepseek_workloads.plan.tensors import cache_width

ARCHITECTURES = {
    "a few of many": SPARSE,
    "yarn": SPARSE.model_copy(update={"rope_scaling": YARN}),
    "as many as there are": SPARSE.model_copy(
        update={"indexer": SPARSE.indexer.model_copy(update={"index_topk": 64})}
    ),
}


def changed(**settings: object) -> Architecture:
    return SPARSE.model_copy(update={"indexer": SPARSE.indexer.model_copy(update=settings)})


def made(architecture: Architecture = SPARSE) -> DeepseekV3ForCausalLM:
    model = DeepseekV3ForCausalLM(architecture)
    model.init_weights(3)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name:
                parameter += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
            else:
                parameter *= 4
    return model


@pytest.mark.parametrize("architecture", ARCHITECTURES.values(), ids=ARCHITECTURES.keys())
def test_logits(architecture: Architecture) -> None:
    ours = made(architecture).eval()
    oracle = Oracle._from_config(DeepseekV32Config(**config_json(architecture)), attn_implementation="eager")
    oracle.set_experts_implementation("eager")
    oracle.load_state_dict(ours.state_dict(), strict=True)
    ids = token_ids(architecture, sequences=2, length=40)

    with torch.no_grad():
        torch.testing.assert_close(ours(ids), oracle.eval()(ids).logits, atol=1e-4, rtol=1e-4)


def test_training_attends_to_the_same_tokens_as_evaluation() -> None:
    model, ids = made(), token_ids(SPARSE, sequences=2, length=41)

    trained = model.loss(ids).lm_loss
    model.eval()

    torch.testing.assert_close(trained, model.loss(ids).lm_loss)


def test_in_blocks_of_queries_the_result_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    model, ids = made().double(), token_ids(SPARSE, sequences=2, length=41)
    expected = model.loss(ids)

    monkeypatch.setattr("deepseek_workloads.model.sparse_latent._ROWS", 7)
    parts = model.loss(ids)

    torch.testing.assert_close(parts.loss, expected.loss)
    torch.testing.assert_close(parts.auxiliary, expected.auxiliary)


def test_the_indexer_learns_from_its_own_loss_alone_and_the_model_from_the_others() -> None:
    model, ids = made(), token_ids(SPARSE, sequences=2, length=41)
    indexer = [p for name, p in model.named_parameters() if ".indexer." in name]
    others = [p for name, p in model.named_parameters() if ".indexer." not in name]

    parts = model.loss(ids)
    of_indexer = torch.autograd.grad(parts.loss, indexer, retain_graph=True)
    of_others = torch.autograd.grad(parts.loss, others)
    weightless = made(changed(loss_weight=0.0))
    expected = torch.autograd.grad(
        weightless.loss(ids).loss,
        [p for name, p in weightless.named_parameters() if ".indexer." not in name],
    )

    assert all(bool(gradient.abs().sum() > 0) for gradient in of_indexer)
    torch.testing.assert_close(of_others, expected)


def test_the_loss_is_the_divergence_from_the_weights_of_attention() -> None:
    architecture = changed(index_topk=64).model_copy(update={"num_hidden_layers": 1})
    model, ids = made(architecture).double(), token_ids(architecture, sequences=1, length=20)
    attention = model.model.layers[0].self_attn
    hidden = model.model.layers[0].input_layernorm(model.model.embed_tokens(ids[:, :-1]))
    rotation = model.model.rotation(0, length=19, like=hidden)
    compressed = attention._compressed(hidden)
    queries = attention._queries(compressed, rotation)
    keys, _ = attention._keys_and_values(*attention._latents(hidden, rotation))
    scores = attention.indexer.scores(
        attention.indexer.queries(compressed, hidden, rotation), attention.indexer.keys(hidden, rotation)
    )[0]

    expected = torch.zeros((), dtype=torch.float64)
    for place in range(19):
        weights = torch.einsum("ad,sad->as", queries[0, place], keys[0, : place + 1]) * attention.scale
        target = weights.softmax(-1).mean(0)
        chosen = scores[place, : place + 1].log_softmax(-1)
        expected += torch.nn.functional.kl_div(chosen, target, reduction="sum") / 19

    torch.testing.assert_close(model.loss(ids).auxiliary["indexerLoss"], expected.detach())


def test_warming_up_sees_everything_and_changes_the_indexer_only() -> None:
    model, ids = made(changed(stage="warmup")), token_ids(SPARSE, sequences=2, length=41)
    dense = made(changed(index_topk=64))

    parts = model.loss(ids)
    parts.loss.backward()
    before = [mixture.gate.e_score_correction_bias.clone() for mixture in model.mixtures()]
    model.update_router_bias(parts.expert_counts)

    torch.testing.assert_close(parts.lm_loss, dense.loss(ids).lm_loss)
    trained = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert trained == {name for name, _ in model.named_parameters() if ".indexer." in name}
    assert all(
        torch.equal(mixture.gate.e_score_correction_bias, bias)
        for mixture, bias in zip(model.mixtures(), before, strict=True)
    )


def test_warming_up_brings_the_indexer_closer_to_attention() -> None:
    model, ids = made(changed(stage="warmup")), token_ids(SPARSE, sequences=4, length=41)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=3e-3)

    seen = []
    for _ in range(30):
        parts = model.loss(ids)
        seen.append(float(parts.auxiliary["indexerLoss"]))
        optimizer.zero_grad()
        parts.loss.backward()
        optimizer.step()

    assert seen[-1] < 0.7 * seen[0]


def test_decoding_token_by_token_alone_and_in_rows_gives_the_logits_of_one_pass() -> None:
    model, ids = made().double().eval(), token_ids(SPARSE, sequences=1, length=24)
    caches = model.caches()
    rows = BatchCaches(
        layers=SPARSE.num_hidden_layers,
        width=cache_width(SPARSE),
        dtype=torch.float64,
        device=torch.device("cpu"),
    )

    with torch.no_grad():
        pieces = [model(ids[:, :10], caches=caches), model(ids[:, 10:15], start=10, caches=caches)]
        rows.join(caches)
        for place in range(15, 24):
            token = ids[:, place : place + 1]
            pieces.append(model(token, start=place, caches=caches))
            rows.begin_step()
            in_row = model(token, start=rows.lengths, caches=rows.layers)
            rows.end_step()
            torch.testing.assert_close(in_row, pieces[-1])

        torch.testing.assert_close(torch.cat(pieces, dim=1), model(ids))
