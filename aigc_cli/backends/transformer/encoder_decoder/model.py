"""The encoder–decoder Transformer (Vaswani et al. 2017): it reads a source, then writes a target token by token.

Built from PyTorch's own layers. It differs from the paper in what was measured to be better: pre-norm blocks (Xiong et al.
2020), and an output layer tied to the embedding matrix.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aigc_cli.engine.network import load_network, save_network
from aigc_cli.errors import RequestError

MODEL_TYPE = "aigc-encoder-decoder"


@dataclass(frozen=True, kw_only=True)
class EncoderDecoderConfig:
    """The shape of a network. Targets start with `sos_id`; targets and sources end with `eos_id`.

    Raises `RequestError` for an invalid shape.
    """

    vocab_size: int
    d_model: int
    n_heads: int
    num_encoder_layers: int
    num_decoder_layers: int
    d_ff: int
    context: int  # in training, the most tokens of a source and of a target with its end; sampling stops at twice as many
    sos_id: int
    eos_id: int
    dropout: float = 0.0
    tied: bool = True

    def __post_init__(self) -> None:
        for name in SIZES:
            if getattr(self, name) < 1:
                raise RequestError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if self.d_model % self.n_heads:
            raise RequestError(f"d_model is {self.d_model}; it must be a multiple of n_heads, {self.n_heads}")
        for name in ("sos_id", "eos_id"):
            if not 0 <= getattr(self, name) < self.vocab_size:
                raise RequestError(f"{name} is {getattr(self, name)}; the vocabulary ends at {self.vocab_size - 1}")
        if not 0 <= self.dropout < 1:
            raise RequestError(f"dropout is {self.dropout}; it must be at least 0 and below 1")

    def to_json(self) -> dict[str, Any]:
        """The content of config.json."""
        settings = {ON_DISK.get(name, name): value for name, value in asdict(self).items()}
        return {"architectures": ["EncoderDecoder"], "model_type": MODEL_TYPE, **settings}

    @classmethod
    def from_json(cls, config: dict[str, Any]) -> EncoderDecoderConfig:
        """The inverse of `to_json`. Raises `RequestError` for anything else."""
        if config.get("model_type") != MODEL_TYPE:
            raise RequestError(f"the model type is {config.get('model_type')!r}, not {MODEL_TYPE!r}")
        try:
            return cls(**{field.name: config[ON_DISK.get(field.name, field.name)] for field in fields(cls)})
        except (KeyError, TypeError) as error:
            raise RequestError(f"config.json has a missing or invalid value: {error}") from error


#: Settings with other names in config.json, which are those of PyTorch's layers.
ON_DISK = {"n_heads": "nhead", "d_ff": "dim_feedforward", "context": "max_seq_length"}
SIZES = ("vocab_size", "d_model", "n_heads", "num_encoder_layers", "num_decoder_layers", "d_ff", "context")


class PositionalEncoding(nn.Module):
    """Sinusoidal positions (Vaswani et al. 2017, section 3.5): PE(pos, 2i) = sin(pos / 10000^(2i/d)), and PE(pos, 2i+1) the
    cosine of the same angle. A shift by k rotates each pair of channels by a fixed angle, whatever the position."""

    table: Tensor

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.d_model = d_model
        self.register_buffer("table", self.rows(64), persistent=False)

    def rows(self, n: int) -> Tensor:
        """The encodings of positions 0 … n-1, (n, d_model)."""
        frequencies = 10000.0 ** (-torch.arange(0, self.d_model, 2, dtype=torch.float64) / self.d_model)
        angles = torch.arange(n, dtype=torch.float64)[:, None] * frequencies
        return torch.stack((angles.sin(), angles.cos()), dim=2).flatten(1)[:, : self.d_model].float()

    def forward(self, begin: int, length: int) -> Tensor:
        """The encodings of `length` positions, starting at `begin`, (length, d_model)."""
        if begin + length > len(self.table):
            self.table = self.rows(2 * (begin + length)).to(self.table.device)
        return self.table[begin : begin + length]


@contextmanager
def scores_not_stored() -> Iterator[None]:
    """Disable PyTorch's inference fast path, which stores all attention scores: their memory is quadratic in the longest
    source, so a single long one among many short ones could exhaust it."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


class EncoderDecoder(nn.Module):
    """The whole network."""

    def __init__(self, config: EncoderDecoderConfig) -> None:
        super().__init__()
        self.config = c = config
        self.embedding = nn.Embedding(c.vocab_size, c.d_model)
        self.positions = PositionalEncoding(c.d_model)
        self.dropout = nn.Dropout(c.dropout)
        shape: dict[str, Any] = {"activation": "gelu", "batch_first": True, "norm_first": True}
        layer = nn.TransformerEncoderLayer(c.d_model, c.n_heads, c.d_ff, c.dropout, **shape)
        self.encoder = nn.TransformerEncoder(
            layer, c.num_encoder_layers, norm=nn.LayerNorm(c.d_model), enable_nested_tensor=False
        )
        decoder_layer = nn.TransformerDecoderLayer(c.d_model, c.n_heads, c.d_ff, c.dropout, **shape)
        self.decoder = nn.TransformerDecoder(decoder_layer, c.num_decoder_layers, norm=nn.LayerNorm(c.d_model))
        if not c.tied:
            self.output = nn.Linear(c.d_model, c.vocab_size, bias=False)
        self.initialise()

    def initialise(self) -> None:
        """Initialise the weights from torch's global generator, like the decoder-only network."""
        for name, parameter in self.named_parameters():
            if name.endswith(("out_proj.weight", "linear2.weight")):
                nn.init.zeros_(parameter)  # each block starts as the identity
            elif name in ("embedding.weight", "output.weight"):
                nn.init.normal_(parameter, std=0.02)
            elif parameter.ndim == 2:
                nn.init.normal_(parameter, std=parameter.shape[1] ** -0.5)
            else:
                nn.init.constant_(parameter, 1.0 if "norm" in name and name.endswith("weight") else 0.0)

    @property
    def head(self) -> Tensor:
        """The output matrix (vocab_size, d_model), which is the embedding matrix if they are tied."""
        return self.embedding.weight if self.config.tied else self.output.weight

    def embed(self, ids: Tensor, begin: int = 0) -> Tensor:
        """Embeddings times √d_model plus positions starting at `begin` (section 3.4): (B, T) to (B, T, d_model)."""
        scaled = self.embedding(ids) * math.sqrt(self.config.d_model)
        embedded: Tensor = self.dropout(scaled + self.positions(begin, ids.shape[1]))
        return embedded

    def encode(self, source: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Encode sources (B, S) with these `lengths` (B,), each at least 1. Returns hidden states (B, S, d_model), and a mask
        (B, S) that is true for padding."""
        padding = torch.arange(source.shape[1], device=source.device) >= lengths[:, None]
        with scores_not_stored():
            memory: Tensor = self.encoder(self.embed(source), src_key_padding_mask=padding)
        return memory, padding

    def forward(self, source: Tensor, lengths: Tensor, target: Tensor) -> Tensor:
        """The hidden states (B, T, d_model) after each token of the targets (B, T), which start with `sos_id`.

        They don't depend on what follows the length of a source (B, S), nor on later tokens of a target.
        """
        memory, padding = self.encode(source, lengths)
        n = target.shape[1]
        future = torch.ones(n, n, dtype=torch.bool, device=target.device).triu_(1)
        hidden: Tensor = self.decoder(
            self.embed(target), memory, tgt_mask=future, memory_key_padding_mask=padding, tgt_is_causal=True
        )
        return hidden

    def logits(self, hidden: Tensor) -> Tensor:
        """The logits (…, vocab_size) of the token after each hidden state (…, d_model)."""
        logits: Tensor = F.linear(hidden, self.head) if self.config.tied else self.output(hidden)
        return logits


def save_pretrained(model: EncoderDecoder, folder: Path) -> None:
    """Write config.json and model.safetensors (float32)."""
    save_network(model, model.config.to_json(), folder)


def load_pretrained(folder: Path) -> EncoderDecoder:
    """Load what `save_pretrained` wrote, on the CPU and in evaluation mode. Raises `RequestError` as `load_network` does."""
    return load_network(folder, EncoderDecoderConfig.from_json, EncoderDecoder)
