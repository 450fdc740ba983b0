"""Compiled layers give the loss and every gradient of plain ones, in shards and beside shared experts.

Traced and differentiated as for kernels, and run without them: in float64, where both must agree.
"""

from dataclasses import replace
from functools import cache
from typing import Literal

import pytest
import torch
from cases import ARCHITECTURE, Observed, Steps, take_steps
from rank_pool import RankPool

from deepseek_workloads.contract.run_config import Parallelism

PROOF = {"atol": 1e-11, "rtol": 1e-8}
# A dense layer, a mixture, and one that looks further.
PLAIN = Steps(
    architecture=ARCHITECTURE.model_copy(update={"num_hidden_layers": 2, "num_nextn_predict_layers": 1}),
    micro_batch_size=8,
)


@cache
def alone(pool: RankPool) -> Observed:
    observed: Observed = pool.run(take_steps, ranks=1, argument=PLAIN)
    return observed


@pytest.mark.parametrize(
    ("degrees", "recomputed"),
    [
        ({"zero_stage": 3}, "none"),
        pytest.param({"zero_stage": 3}, "selective", marks=pytest.mark.slow),
        pytest.param({"zero_stage": 2}, "full", marks=pytest.mark.slow),
        pytest.param({"zero_stage": 0}, "none", marks=pytest.mark.slow),
        ({"zero_stage": 2, "expert_parallel_degree": 2}, "none"),
        pytest.param({"zero_stage": 3, "expert_parallel_degree": 2}, "full", marks=pytest.mark.slow),
    ],
)
def test_two_ranks_with_compiled_layers_take_the_steps_of_one_with_plain_ones(
    pool: RankPool, degrees: dict[str, int], recomputed: Literal["none", "selective", "full"]
) -> None:
    steps = replace(PLAIN, parallelism=Parallelism(**degrees), recomputed=recomputed, compiler="aot_eager")
    found, expected = pool.run(take_steps, ranks=2, argument=steps), alone(pool)
    torch.testing.assert_close(found.losses, expected.losses, **PROOF)
    assert found.gradients.keys() == expected.gradients.keys()
    for name, gradient in expected.gradients.items():
        torch.testing.assert_close(found.gradients[name], gradient, **PROOF, msg=name)
