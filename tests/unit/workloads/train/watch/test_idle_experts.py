"""Experts without tokens are seen over a window, and only where there are enough tokens to say so."""

import torch
from torch import Tensor

from deepseek_workloads.train.watch.idle_experts import MIN_MEAN_TOKENS, WINDOW_STEPS, IdleExperts

EXPERTS = 8
ENOUGH = MIN_MEAN_TOKENS // WINDOW_STEPS + 1  # tokens of an expert and step


def watching(layers: int = 1) -> IdleExperts:
    return IdleExperts(layers, EXPERTS, torch.device("cpu"))


def routed(*idle_of_layers: int, tokens: int = ENOUGH) -> Tensor:
    """The first experts of each layer get nothing, the others share their tokens."""
    rows = [[0] * idle + [tokens * EXPERTS // (EXPERTS - idle)] * (EXPERTS - idle) for idle in idle_of_layers]
    return torch.tensor(rows)


def shares(experts: IdleExperts, counts: Tensor, steps: int) -> list[float]:
    return [float(experts.after_step(counts)[0]) for _ in range(steps)]


def test_the_share_is_told_when_the_window_is_full() -> None:
    told = shares(watching(), routed(4), WINDOW_STEPS + 1)
    assert all(share < 0 for share in told[: WINDOW_STEPS - 1])
    assert told[WINDOW_STEPS - 1 :] == [0.5, 0.5]


def test_it_is_that_of_the_worst_layer() -> None:
    experts = watching(3)
    shares(experts, routed(0, 2, 1), WINDOW_STEPS - 1)
    assert experts.after_step(routed(0, 2, 1)).tolist() == [2 / EXPERTS, 1]


def test_few_tokens_say_nothing() -> None:
    """Of a batch with less than a token an expert most get none by chance."""
    assert shares(watching(), routed(4, tokens=1), 2 * WINDOW_STEPS)[-1] < 0


def test_an_expert_that_gets_little_is_idle_and_one_that_gets_a_hundredth_is_not() -> None:
    mean = 1000
    counts = torch.tensor([[9, 10, *[(EXPERTS * mean - 19) // 6] * 5]])
    counts = torch.cat([counts, EXPERTS * mean - counts.sum().reshape(1, 1)], dim=1)
    assert shares(watching(), counts, WINDOW_STEPS)[-1] == 1 / EXPERTS


def test_an_expert_is_idle_no_more_with_its_first_tokens_and_again_when_they_have_left_the_window() -> None:
    experts = watching()
    shares(experts, routed(1), WINDOW_STEPS)
    assert float(experts.after_step(routed(0))[0]) == 0
    assert shares(experts, routed(1), WINDOW_STEPS)[-2:] == [0, 1 / EXPERTS]


def test_a_run_that_goes_on_judges_as_one_that_was_not_interrupted() -> None:
    """Also in the middle of the first window."""
    whole, before, after = watching(), watching(), watching()
    counts = [routed(step % 3) for step in range(WINDOW_STEPS + 5)]
    for of_step in counts[:20]:
        whole.after_step(of_step)
        before.after_step(of_step)
    after.load(before.state())
    for of_step in counts[20:]:
        assert torch.equal(after.after_step(of_step), whole.after_step(of_step))
