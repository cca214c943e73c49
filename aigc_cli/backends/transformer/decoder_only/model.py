"""The Transformer: a decoder-only language model with the architecture and parameter names of Qwen3.

Pre-norm blocks (RMSNorm), grouped-query attention with a norm on each head's query and key, rotary positions, SwiGLU, no biases
(Vaswani et al. 2017; Qwen Team 2025, arXiv:2505.09388). A saved model is a Hugging Face folder, which
`AutoModelForCausalLM.from_pretrained` opens as a `Qwen3ForCausalLM`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from aigc_cli.backends.transformer.decoder_only.cache import KVCache
from aigc_cli.backends.transformer.layers import (
    RMSNorm,
    attention,
    bare,
    causal_bias,
    dropout,
    rms_norm,
    rotary_tables,
    rotate,
)
from aigc_cli.engine.network import load_network, save_network
from aigc_cli.errors import RequestError

#: Of the tables of rotary positions (context, head_dim), of which there are two.
MAX_POSITIONS = 1 << 28


@dataclass(frozen=True, kw_only=True)
class TransformerConfig:
    """The shape of a network. `eot_id` is the token that ends a document, and without `sos_id` also the one that starts it.

    Raises `RequestError` for an invalid shape.
    """

    vocab_size: int
    d_model: int
    n_layers: int
    n_heads: int
    n_kv_heads: int
    head_dim: int
    d_ff: int
    context: int
    eot_id: int
    sos_id: int | None = None
    tied: bool = True
    rope_theta: float = 10000.0
    norm_eps: float = 1e-6
    dropout: float = 0.0

    def __post_init__(self) -> None:
        sizes = ("vocab_size", "d_model", "n_layers", "n_heads", "n_kv_heads", "head_dim", "d_ff", "context")
        for name in sizes:
            if getattr(self, name) < 1:
                raise RequestError(f"{name} is {getattr(self, name)}; it must be at least 1")
        if self.n_heads % self.n_kv_heads:
            raise RequestError(f"n_heads is {self.n_heads}; it must be a multiple of n_kv_heads")
        if self.head_dim % 2:
            raise RequestError(f"head_dim is {self.head_dim}; rotary positions need an even one")
        if self.context * self.head_dim > MAX_POSITIONS:
            raise RequestError(f"context is {self.context}; the tables of rotary positions would be too large")
        for name, token in (("eot_id", self.eot_id), ("sos_id", self.begins_id)):
            if not 0 <= token < self.vocab_size:
                raise RequestError(f"{name} is {token}; the vocabulary ends at {self.vocab_size - 1}")
        if not 0 <= self.dropout < 1:
            raise RequestError(f"dropout is {self.dropout}; it must be at least 0 and below 1")

    @property
    def begins_id(self) -> int:
        """The token that starts a document."""
        return self.eot_id if self.sos_id is None else self.sos_id

    def to_hugging_face(self) -> dict[str, Any]:
        """The `config.json` of a `Qwen3ForCausalLM` (transformers 4.51 and later)."""
        return {
            "architectures": ["Qwen3ForCausalLM"],
            "model_type": "qwen3",
            "vocab_size": self.vocab_size,
            "hidden_size": self.d_model,
            "num_hidden_layers": self.n_layers,
            "num_attention_heads": self.n_heads,
            "num_key_value_heads": self.n_kv_heads,
            "head_dim": self.head_dim,
            "intermediate_size": self.d_ff,
            "max_position_embeddings": self.context,
            "bos_token_id": self.begins_id,
            "eos_token_id": self.eot_id,
            "tie_word_embeddings": self.tied,
            # transformers 4 reads the first of these two, transformers 5 the second.
            "rope_theta": self.rope_theta,
            "rope_parameters": {"rope_type": "default", "rope_theta": self.rope_theta},
            "rms_norm_eps": self.norm_eps,
            "hidden_act": "silu",
            "attention_bias": False,
            "attention_dropout": 0.0,
            # Not part of Qwen3: only used in training, and readers ignore unknown keys.
            "residual_dropout": self.dropout,
            "layer_types": ["full_attention"] * self.n_layers,
            "use_sliding_window": False,
            "use_cache": True,
            "torch_dtype": "float32",
        }

    @classmethod
    def from_hugging_face(cls, config: dict[str, Any]) -> TransformerConfig:
        """Read a `config.json`. Raises `RequestError` if it does not describe a network that can be built here."""
        if config.get("model_type") != "qwen3":
            raise RequestError(f"the model type is {config.get('model_type')!r}; only 'qwen3' can be opened")
        rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
        if rope.get("rope_type", "default") != "default" or config.get("use_sliding_window"):
            raise RequestError("models with scaled rotary positions or sliding windows are not supported")
        try:
            eos = config["eos_token_id"]
            return cls(
                vocab_size=config["vocab_size"],
                d_model=config["hidden_size"],
                n_layers=config["num_hidden_layers"],
                n_heads=config["num_attention_heads"],
                n_kv_heads=config["num_key_value_heads"],
                head_dim=config["head_dim"],
                d_ff=config["intermediate_size"],
                context=config["max_position_embeddings"],
                eot_id=eos[0] if isinstance(eos, list) else eos,
                sos_id=None if config.get("bos_token_id") in (eos, None) else config["bos_token_id"],
                tied=config["tie_word_embeddings"],
                rope_theta=rope.get("rope_theta") or config["rope_theta"],
                norm_eps=config["rms_norm_eps"],
                dropout=config.get("residual_dropout", 0.0),
            )
        except (KeyError, TypeError, IndexError) as error:
            raise RequestError(f"config.json has a missing or invalid value: {error}") from error


@dataclass(frozen=True, slots=True)
class Place:
    """The inputs of a forward pass that all layers share: positions, attention bias and cache."""

    cos: Tensor
    sin: Tensor
    bias: Tensor | None
    cache: KVCache | None


class Attention(nn.Module):
    def __init__(self, config: TransformerConfig, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.n_heads, self.n_kv_heads, self.head_dim = config.n_heads, config.n_kv_heads, config.head_dim
        self.eps = config.norm_eps
        self.q_proj = nn.Linear(config.d_model, config.n_heads * config.head_dim, bias=False)
        self.k_proj = nn.Linear(config.d_model, config.n_kv_heads * config.head_dim, bias=False)
        self.v_proj = nn.Linear(config.d_model, config.n_kv_heads * config.head_dim, bias=False)
        self.o_proj = nn.Linear(config.n_heads * config.head_dim, config.d_model, bias=False)
        self.q_norm = RMSNorm(config.head_dim, config.norm_eps)
        self.k_norm = RMSNorm(config.head_dim, config.norm_eps)

    def joined(self) -> tuple[Tensor, Tensor] | None:
        """The concatenated matrices of query, key and value, and the concatenated weights of the norms (H + H_kv, D).

        A single operation on all of them is faster than one on each, even with the cost of concatenation. None if a layer has a
        hook or an adapter, because it must then be called.
        """
        if not all(map(bare, (self.q_proj, self.k_proj, self.v_proj, self.q_norm, self.k_norm))):
            return None
        matrix = torch.cat((self.q_proj.weight, self.k_proj.weight, self.v_proj.weight))
        q_norm = self.q_norm.weight.expand(self.n_heads, -1)
        return matrix, torch.cat((q_norm, self.k_norm.weight.expand(self.n_kv_heads, -1)))

    def forward(self, x: Tensor, place: Place) -> Tensor:
        batch, length, _ = x.shape
        cache, heads = place.cache, (batch, length, -1, self.head_dim)
        joined = self.joined() if cache is None else cache.once(self.layer, self.joined)
        if joined is None:
            v = self.v_proj(x).view(heads)
            qk = torch.cat((self.q_norm(self.q_proj(x).view(heads)), self.k_norm(self.k_proj(x).view(heads))), dim=2)
        else:
            matrix, norms = joined
            qk, v = F.linear(x, matrix).view(heads).split_with_sizes([self.n_heads + self.n_kv_heads, self.n_kv_heads], dim=2)
            qk = rms_norm(qk, norms, self.eps)
        qk = rotate(qk, place.cos, place.sin).transpose(1, 2)
        q, k = qk.split_with_sizes([self.n_heads, self.n_kv_heads], dim=1)
        v = v.transpose(1, 2)
        if cache is not None:
            k, v = cache.append(self.layer, k, v)
        mixed = attention(q, k, v, place.bias).transpose(1, 2)
        out: Tensor = self.o_proj(mixed.reshape(batch, length, -1))
        return out


class MLP(nn.Module):
    """SwiGLU: (silu(xW_gate) ⊙ xW_up) W_down (Shazeer 2020, eq. 6)."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.d_model, config.d_ff, bias=False)
        self.up_proj = nn.Linear(config.d_model, config.d_ff, bias=False)
        self.down_proj = nn.Linear(config.d_ff, config.d_model, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))
        return out


class Block(nn.Module):
    def __init__(self, config: TransformerConfig, layer: int) -> None:
        super().__init__()
        self.input_layernorm = RMSNorm(config.d_model, config.norm_eps)
        self.self_attn = Attention(config, layer)
        self.post_attention_layernorm = RMSNorm(config.d_model, config.norm_eps)
        self.mlp = MLP(config)
        self.dropout = config.dropout

    def forward(self, x: Tensor, place: Place) -> Tensor:
        x = x + self.dropped(self.self_attn(self.input_layernorm(x), place))
        return x + self.dropped(self.mlp(self.post_attention_layernorm(x)))

    def dropped(self, x: Tensor) -> Tensor:
        return dropout(x, self.dropout) if self.training and self.dropout else x


class Layers(nn.Module):
    """The embeddings, the blocks and the final norm: the modules under `model` in Hugging Face's names."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.d_model)
        self.layers = nn.ModuleList([Block(config, layer) for layer in range(config.n_layers)])
        self.norm = RMSNorm(config.d_model, config.norm_eps)
        self.dropout = config.dropout

    def forward(self, ids: Tensor, place: Place) -> Tensor:
        x = self.embed_tokens(ids)
        if self.training and self.dropout:
            x = dropout(x, self.dropout)
        for block in self.layers:
            x = block(x, place)
        hidden: Tensor = self.norm(x)
        return hidden


class Transformer(nn.Module):
    """The whole network. `state_dict()` has exactly the names of Hugging Face's `Qwen3ForCausalLM`."""

    cos: Tensor
    sin: Tensor

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = config
        self.model = Layers(config)
        if not config.tied:
            self.lm_head = nn.Linear(config.d_model, config.vocab_size, bias=False)
        cos, sin = rotary_tables(config.context, config.head_dim, config.rope_theta)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)
        self.initialise()

    def initialise(self) -> None:
        """Initialise the weights from torch's global generator."""
        for name, parameter in self.named_parameters():
            if parameter.ndim < 2:
                nn.init.ones_(parameter)
            elif name.endswith(("o_proj.weight", "down_proj.weight")):
                # Each block starts as the identity, so that depth doesn't affect the size of the first steps (Zhang et al.
                # 2019, Fixup; Yang et al. 2022, Tensor Programs V, appendix D.2).
                nn.init.zeros_(parameter)
            elif name.endswith(("embed_tokens.weight", "lm_head.weight")):
                # Initially the network is the identity, so a tied head sees the embedding of the current token. With a larger
                # scale, training would start from confidently predicting that every token repeats itself.
                nn.init.normal_(parameter, std=0.02)
            else:
                nn.init.normal_(parameter, std=parameter.shape[1] ** -0.5)

    @property
    def head(self) -> Tensor:
        """The output matrix (vocab_size, d_model), which is the embedding matrix if they are tied."""
        return self.model.embed_tokens.weight if self.config.tied else self.lm_head.weight

    def forward(
        self,
        ids: Tensor,
        *,
        positions: Tensor | None = None,
        mask: Tensor | None = None,
        cache: KVCache | None = None,
    ) -> Tensor:
        """The hidden states (B, T, d_model) after the final norm, for token ids (B, T) int64.

        `positions` (B, T) are below `context`; None counts 0 … T-1, starting after the tokens in the cache. `mask` (B or 1, 1,
        T, S) is true for keys to attend to, or a float that is added to the scores; no query may be fully masked. S is T, or
        the number of filled columns with a cache. None is causal. The keys and values of these tokens are added to the `cache`.
        """
        length = ids.shape[1]
        past = 0 if cache is None else cache.filled
        if positions is None:
            cos, sin = (table.narrow(0, past, length).unsqueeze(1) for table in (self.cos, self.sin))
        else:
            cos, sin = (F.embedding(positions, table).unsqueeze(2) for table in (self.cos, self.sin))
        if mask is None and past and length > 1:
            mask = causal_bias(length, past, ids.device)
        elif mask is not None and mask.dtype == torch.bool:
            mask = torch.zeros_like(mask, dtype=torch.float32).masked_fill_(~mask, -math.inf)
        hidden: Tensor = self.model(ids, Place(cos, sin, mask, cache))
        if cache is not None:
            cache.advance(length)
        return hidden

    def logits(self, hidden: Tensor) -> Tensor:
        """The logits (…, vocab_size) of the token after each hidden state (…, d_model)."""
        logits: Tensor = F.linear(hidden, self.head) if self.config.tied else self.lm_head(hidden)
        return logits


def save_pretrained(model: Transformer, folder: Path) -> None:
    """Write the model as a Hugging Face folder: config.json and model.safetensors (float32)."""
    save_network(model, model.config.to_hugging_face(), folder)


def load_pretrained(folder: Path) -> Transformer:
    """Load what `save_pretrained` wrote, on the CPU and in evaluation mode.

    Raises `RequestError` if the folder is not a complete model of this architecture.
    """
    return load_network(folder, TransformerConfig.from_hugging_face, Transformer)
