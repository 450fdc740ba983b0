"""A model of one's own for the built-in loop, by spec.model.function: small_gru:build.

See docs/custom-training.md.
"""

from torch import Tensor, nn

from deepseek_workloads.train.custom import ModelConfig


class Recurrent(nn.Module):
    """A recurrent layer beside its input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.recurrence = nn.GRU(width, width, batch_first=True)

    def forward(self, hidden: Tensor) -> Tensor:
        """[B, T, H] -> [B, T, H]."""
        return hidden + self.recurrence(self.norm(hidden))[0]


class SmallGru(nn.Module):
    """Embedding, recurrent layers, a head that shares the embedding's weights."""

    def __init__(self, vocabulary: int, width: int, depth: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, width)
        nn.init.normal_(self.embedding.weight, std=0.02)  # it is the head, too: first logits are small
        self.layers = nn.ModuleList(
            Recurrent(width) for _ in range(depth)
        )  # units of shards and recomputation
        self.head = nn.Linear(width, vocabulary, bias=False)
        self.head.weight = self.embedding.weight

    def forward(self, input_ids: Tensor) -> Tensor:
        """int64 [B, T] -> logits [B, T, V] of the next token."""
        hidden = self.embedding(input_ids)
        for layer in self.layers:
            hidden = layer(hidden)
        logits: Tensor = self.head(hidden)
        return logits


def build(config: ModelConfig) -> nn.Module:
    """`spec.model.architecture` sets its sizes."""
    a = config.architecture
    return SmallGru(config.vocab_size, width=a.hidden_size, depth=a.num_hidden_layers)
