"""A histogram of a parameter that ranks share says that it is of a part of it."""

from collections.abc import Iterator

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import Replicate, Shard, distribute_tensor
from torch.testing._internal.distributed.fake_pg import FakeStore

from deepseek_workloads.train.watch.histograms import histograms


@pytest.fixture
def two_ranks() -> Iterator[None]:
    """This one is the first; the other never speaks, as sharding and counting need none of it."""
    dist.init_process_group("fake", rank=0, world_size=2, store=FakeStore())
    yield
    dist.destroy_process_group()


@pytest.mark.usefixtures("two_ranks")
def test_a_shard_is_named_so() -> None:
    mesh = init_device_mesh("cpu", (2,))
    model = nn.Module()
    for name, placement in (("shared", Shard(0)), ("copied", Replicate())):
        whole = torch.arange(8.0)
        parameter = nn.Parameter(distribute_tensor(whole, mesh, [placement], src_data_rank=None))
        model.register_parameter(name, parameter)
    model.register_parameter("own", nn.Parameter(torch.arange(8.0)))
    model.own.grad = torch.ones(8)
    made = dict(histograms(model))
    assert {name: each.number for name, each in made.items()} == {
        "weights_of_shard/shared": 4,
        "weights/copied": 8,
        "weights/own": 8,
        "gradients/own": 8,
    }
