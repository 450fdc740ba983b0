"""Training code of one's own: a plain PyTorch model that learns the next token from the job's data.

The job runs `train` on every rank (spec.training.entrypoint: next_token:train). What it needs of the platform
is in `run`: the batches of each step, checkpoints, figures. See docs/custom-training.md.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from deepseek_workloads.train.custom import RunContext

WIDTH = 64


class NextToken(nn.Module):
    """A recurrent network: embedding, GRU, head."""

    def __init__(self, vocabulary: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, WIDTH)
        self.recurrence = nn.GRU(WIDTH, WIDTH, batch_first=True)
        self.head = nn.Linear(WIDTH, vocabulary)

    def forward(self, ids: Tensor) -> Tensor:
        """int64 [b, T] -> logits [b, T, V]."""
        hidden, _ = self.recurrence(self.embedding(ids))
        logits: Tensor = self.head(hidden)
        return logits


def train(run: RunContext) -> None:
    torch.manual_seed(run.run.data.seed)
    model: nn.Module = NextToken(run.vocab_size).to(run.device)
    if run.world_size > 1:
        model = DistributedDataParallel(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=run.run.training.optimizer.learning_rate)
    for step in run.steps(model, optimizer):  # from the newest checkpoint on
        optimizer.zero_grad()
        total = 0.0
        for batch in step.batches:
            ids = batch.input_ids.to(run.device)
            logits = model(ids[:, :-1])
            loss = F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten()) / len(step.batches)
            loss.backward()
            total += loss.item()
        optimizer.step()
        step.report(loss=total)
