"""The busiest expert of a step, and where it is."""

import torch

from deepseek_workloads.train.watch.expert_load import busiest


def test_it_is_the_one_with_most_over_the_mean_of_its_own_layer() -> None:
    counts = torch.tensor([[100, 100, 100, 140], [1, 6, 1, 0], [4, 4, 4, 4]])
    assert busiest(counts).tolist() == [3.0, 1, 1]


def test_a_layer_that_no_token_reached_has_no_load() -> None:
    assert busiest(torch.zeros(2, 4, dtype=torch.int64)).tolist() == [0.0, 0, 0]


def test_without_a_mixture_all_is_even() -> None:
    assert busiest(torch.zeros(0, 0, dtype=torch.int64)).tolist() == [1.0, -1, -1]
