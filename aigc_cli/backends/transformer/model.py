"""The Transformer: a decoder-only language model with the architecture and the parameter names of Qwen3.

Pre-norm blocks (RMSNorm), grouped-query attention with a norm on each head's query and key, rotary positions,
SwiGLU, no biases (Vaswani et al. 2017; Qwen Team 2025, arXiv:2505.09388). A saved model is a Hugging Face
folder: `AutoModelForCausalLM.from_pretrained` opens it as a `Qwen3ForCausalLM`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from aigc_cli.backends.transformer.cache import KVCache
from aigc_cli.errors import RequestError

# On a CPU, storing the scores is faster than the kernel that does not, as long as they are not many.
LONGEST_STORED = 512


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The shape of a network. `eot_id` is the token that ends a document, and begins one.

    Raises `RequestError` for a shape that no network has.
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
        if not 0 <= self.eot_id < self.vocab_size:
            raise RequestError(f"eot_id is {self.eot_id}; the vocabulary ends at {self.vocab_size - 1}")
        if not 0 <= self.dropout < 1:
            raise RequestError(f"dropout is {self.dropout}; it must be at least 0 and below 1")

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
            "bos_token_id": self.eot_id,
            "eos_token_id": self.eot_id,
            "tie_word_embeddings": self.tied,
            # transformers 4 reads the first of these two, transformers 5 the second.
            "rope_theta": self.rope_theta,
            "rope_parameters": {"rope_type": "default", "rope_theta": self.rope_theta},
            "rms_norm_eps": self.norm_eps,
            "hidden_act": "silu",
            "attention_bias": False,
            "attention_dropout": 0.0,
            # Not a part of Qwen3: it matters in training alone, and readers ignore a key they do not know.
            "residual_dropout": self.dropout,
            "layer_types": ["full_attention"] * self.n_layers,
            "use_sliding_window": False,
            "use_cache": True,
            "torch_dtype": "float32",
        }

    @classmethod
    def from_hugging_face(cls, config: dict[str, Any]) -> ModelConfig:
        """Reads a `config.json`. Raises `RequestError` where it is not that of a network built here."""
        if config.get("model_type") != "qwen3":
            raise RequestError(f"the model type is {config.get('model_type')!r}; only 'qwen3' can be opened")
        rope = config.get("rope_parameters") or config.get("rope_scaling") or {}
        if rope.get("rope_type", "default") != "default" or config.get("use_sliding_window"):
            raise RequestError("a model with scaled rotary positions or sliding windows cannot be opened")
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
                tied=config["tie_word_embeddings"],
                rope_theta=rope.get("rope_theta") or config["rope_theta"],
                norm_eps=config["rms_norm_eps"],
                dropout=config.get("residual_dropout", 0.0),
            )
        except (KeyError, TypeError, IndexError) as error:
            raise RequestError(f"config.json lacks a value or has one of a wrong kind: {error}") from error


def attention_reference(q: Tensor, k: Tensor, v: Tensor, mask: Tensor) -> Tensor:
    """Attention as it is defined: softmax(QKᵀ/√d_k)V (Vaswani et al. 2017, eq. 1).

    q (…, T, d_k), k (…, S, d_k), v (…, S, d_v), mask (…, T, S) true where a query may look.
    Returns (…, T, d_v). `attention` computes the same, faster.
    """
    scores = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])
    return scores.masked_fill(~mask, -math.inf).softmax(dim=-1) @ v


def attention(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> Tensor:
    """Attention of q (B, H, T, D) to k and v (B, H_kv, S, D), H being a multiple of H_kv.

    `bias` (B or 1, 1, T, S) is added to the scores: 0 where a query may look and -∞ where not, for each query
    0 at least once. None is causal for T = S, and everything for T = 1. Returns (B, H, T, D).
    """
    batch, n_heads, length, head_dim = q.shape
    n_kv_heads, n_keys = k.shape[1:3]
    if q.device.type != "cpu" or length > LONGEST_STORED:
        grouped = n_heads != n_kv_heads
        mask = None if bias is None else bias.to(q.dtype)
        causal = bias is None and length > 1
        return F.scaled_dot_product_attention(q, k, v, mask, is_causal=causal, enable_gqa=grouped)
    if bias is None and length > 1:
        bias = causal_bias(length, 0, q.device)
    # The query heads that share a key head are rows of one product.
    rows = (q * head_dim**-0.5).reshape(batch * n_kv_heads, -1, head_dim)
    scores = torch.bmm(rows, k.flatten(0, 1).transpose(1, 2))
    if bias is not None:
        scores = (scores.view(batch, n_heads, length, n_keys) + bias).view(scores.shape)
    weights = scores.softmax(dim=-1)
    return torch.bmm(weights.to(v.dtype), v.flatten(0, 1)).view(q.shape)


def causal_bias(length: int, past: int, device: torch.device) -> Tensor:
    """The bias (1, 1, T, past + T) by which T tokens see what is past and themselves, nothing later."""
    bias = torch.full((1, 1, length, past + length), -math.inf, device=device)
    return bias.triu_(past + 1)


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """x / rms(x) · weight over the last dimension, in float32 inside (Zhang & Sennrich 2019, eq. 4).

    x (…, D), weight (D) or (…, D). Returns x's shape and type.
    """
    if x.device.type == "cpu" and torch.is_grad_enabled():
        apply: Callable[..., Tensor] = _RMSNorm.apply
        return apply(x.float(), weight, eps).to(x.dtype)
    unit: Tensor = F.rms_norm(x.float(), weight.shape[-1:], eps=eps)
    return (unit * weight).to(x.dtype)


class _RMSNorm(torch.autograd.Function):
    """The same with its gradient written out, which on a CPU takes a third of the time of torch's."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        norm: Tensor = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        scale = norm.square_().div_(x.shape[-1]).add_(eps).rsqrt_()
        unit = x * scale
        ctx.save_for_backward(unit, scale, weight)
        return unit * weight

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        unit, scale, weight = ctx.saved_tensors
        grad_weight = (grads[0] * unit).sum_to_size(weight.shape)
        grad_unit = grads[0] * weight
        along = (grad_unit * unit).mean(dim=-1, keepdim=True)
        return torch.addcmul(grad_unit, unit, along, value=-1).mul_(scale), grad_weight, None


class RMSNorm(nn.Module):
    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return rms_norm(x, self.weight, self.eps)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary positions (Su et al. 2021, eq. 34): turns each pair (x_i, x_{i+D/2}) by its position times θ_i.

    x (B, T, H, D); cos and sin (B or 1, T, 1, D) as `rotary_tables` gives them. Returns x's shape and type.
    """
    return torch.addcmul(x * cos, x.roll(x.shape[-1] // 2, dims=-1), sin).to(x.dtype)


def rotary_tables(context: int, head_dim: int, theta: float) -> tuple[Tensor, Tensor]:
    """The cosines and the sines (context, D) of each position's angles, the first half of the sines negative."""
    frequencies = theta ** -(torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim)
    angles = torch.arange(context, dtype=torch.float32)[:, None] * frequencies
    cos, sin = angles.cos(), angles.sin()
    return torch.cat((cos, cos), dim=1), torch.cat((-sin, sin), dim=1)


@dataclass(frozen=True, slots=True)
class Place:
    """What all layers share of one forward pass: the tokens' positions, and where they may look."""

    cos: Tensor
    sin: Tensor
    bias: Tensor | None
    cache: KVCache | None


class Attention(nn.Module):
    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.layer = layer
        self.n_heads, self.n_kv_heads, self.head_dim = config.n_heads, config.n_kv_heads, config.head_dim
        self.q_proj = nn.Linear(config.d_model, config.n_heads * config.head_dim, bias=False)
        self.k_proj = nn.Linear(config.d_model, config.n_kv_heads * config.head_dim, bias=False)
        self.v_proj = nn.Linear(config.d_model, config.n_kv_heads * config.head_dim, bias=False)
        self.o_proj = nn.Linear(config.n_heads * config.head_dim, config.d_model, bias=False)
        self.q_norm = RMSNorm(config.head_dim, config.norm_eps)
        self.k_norm = RMSNorm(config.head_dim, config.norm_eps)

    def joined(self) -> tuple[Tensor, Tensor]:
        """The matrices of query, key and value as one, and the norms' weights (H + H_kv, D) as one.

        One operation on all of them is faster than one on each, by more than it costs to join them.
        """
        matrix = torch.cat((self.q_proj.weight, self.k_proj.weight, self.v_proj.weight))
        q_norm = self.q_norm.weight.expand(self.n_heads, -1)
        return matrix, torch.cat((q_norm, self.k_norm.weight.expand(self.n_kv_heads, -1)))

    def forward(self, x: Tensor, place: Place) -> Tensor:
        batch, length, _ = x.shape
        cache = place.cache
        matrix, norms = self.joined() if cache is None else cache.once(self.layer, self.joined)
        qkv = F.linear(x, matrix).view(batch, length, -1, self.head_dim)
        qk, v = qkv.split_with_sizes([self.n_heads + self.n_kv_heads, self.n_kv_heads], dim=2)
        qk = rotate(rms_norm(qk, norms, self.q_norm.eps), place.cos, place.sin)
        q, k = qk.transpose(1, 2).split_with_sizes([self.n_heads, self.n_kv_heads], dim=1)
        v = v.transpose(1, 2)
        if cache is not None:
            k, v = cache.append(self.layer, k, v)
        out = attention(q, k, v, place.bias).transpose(1, 2)
        return F.linear(out.reshape(batch, length, -1), self.o_proj.weight)


class MLP(nn.Module):
    """SwiGLU: (silu(xW_gate) ⊙ xW_up) W_down (Shazeer 2020, eq. 6)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.d_model, config.d_ff, bias=False)
        self.up_proj = nn.Linear(config.d_model, config.d_ff, bias=False)
        self.down_proj = nn.Linear(config.d_ff, config.d_model, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gate, up = F.linear(x, self.gate_proj.weight), F.linear(x, self.up_proj.weight)
        return F.linear(F.silu(gate) * up, self.down_proj.weight)


class Block(nn.Module):
    def __init__(self, config: ModelConfig, layer: int) -> None:
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
        return F.dropout(x, self.dropout) if self.training else x


class Layers(nn.Module):
    """The embeddings, the blocks and the last norm: what Hugging Face's names have under `model`."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.d_model)
        self.layers = nn.ModuleList([Block(config, layer) for layer in range(config.n_layers)])
        self.norm = RMSNorm(config.d_model, config.norm_eps)
        self.dropout = config.dropout

    def forward(self, ids: Tensor, place: Place) -> Tensor:
        x = F.dropout(F.embedding(ids, self.embed_tokens.weight), self.dropout, self.training)
        for block in self.layers:
            x = block(x, place)
        hidden: Tensor = self.norm(x)
        return hidden


class Transformer(nn.Module):
    """The whole network. `state_dict()` has exactly the names of Hugging Face's `Qwen3ForCausalLM`."""

    cos: Tensor
    sin: Tensor

    def __init__(self, config: ModelConfig) -> None:
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
        """Draws new weights from torch's global generator."""
        for name, parameter in self.named_parameters():
            if parameter.ndim < 2:
                nn.init.ones_(parameter)
            elif name.endswith(("o_proj.weight", "down_proj.weight")):
                # Each block starts as the identity, so that depth does not change the size of the first steps
                # (Zhang et al. 2019, Fixup; Yang et al. 2022, Tensor Programs V, appendix D.2).
                nn.init.zeros_(parameter)
            elif name.endswith(("embed_tokens.weight", "lm_head.weight")):
                # At first the network is the identity, so a tied head sees the current token's own embedding:
                # a larger scale would start from the firm belief that every token repeats itself.
                nn.init.normal_(parameter, std=0.02)
            else:
                nn.init.normal_(parameter, std=parameter.shape[1] ** -0.5)

    @property
    def head(self) -> Tensor:
        """The output matrix (vocab_size, d_model): the embeddings themselves where the two are tied."""
        return self.model.embed_tokens.weight if self.config.tied else self.lm_head.weight

    def forward(
        self,
        ids: Tensor,
        *,
        positions: Tensor | None = None,
        mask: Tensor | None = None,
        cache: KVCache | None = None,
    ) -> Tensor:
        """The hidden states (B, T, d_model) after the last norm, for token ids (B, T) of type int64.

        `positions` (B, T) lie below `context`; None counts 0 … T-1, on from the tokens in the cache.
        `mask` (B or 1, 1, T, S) is true where a query may look, or a float to be added to the scores; each
        query must see something. S is T, or with a cache all its filled columns. None is causal.
        `cache` takes up the keys and values of these tokens.
        """
        length = ids.shape[1]
        past = 0 if cache is None else cache.filled
        if positions is None:
            cos, sin = (table[None, past : past + length, None] for table in (self.cos, self.sin))
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
        return F.linear(hidden, self.head)


def save_pretrained(model: Transformer, folder: Path) -> None:
    """Writes the model as a Hugging Face folder: config.json and model.safetensors (float32)."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(model.config.to_hugging_face(), indent=2) + "\n")
    weights = {name: weight.float().cpu().contiguous() for name, weight in model.state_dict().items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def load_pretrained(folder: Path) -> Transformer:
    """Reads what `save_pretrained` wrote, on the CPU and in evaluation mode.

    Raises `RequestError` where the folder is not a whole model of this architecture.
    """
    try:
        config = ModelConfig.from_hugging_face(json.loads((folder / "config.json").read_text()))
        weights = load_file(folder / "model.safetensors")
    except (OSError, ValueError, SafetensorError) as error:
        raise RequestError(f"{folder}: this is not a readable model folder: {error}") from error
    model = Transformer(config)
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise RequestError(f"{folder}: the weights do not fit the model's config.json: {reason}") from error
    return model.eval()
