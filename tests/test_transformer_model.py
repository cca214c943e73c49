"""The network against its formulas, against transformers' Qwen3, and against itself."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from networks import random_transformer, small_config
from torch import Tensor, nn

from aigc_cli.backends.transformer import layers
from aigc_cli.backends.transformer import loss as loss_module
from aigc_cli.backends.transformer.decoder_only.cache import KVCache
from aigc_cli.backends.transformer.decoder_only.incremental import CausalLM
from aigc_cli.backends.transformer.decoder_only.likelihood import token_nats
from aigc_cli.backends.transformer.decoder_only.model import Transformer, load_pretrained, save_pretrained
from aigc_cli.backends.transformer.layers import attention, attention_reference, rms_norm, rotate
from aigc_cli.backends.transformer.loss import IGNORED, cross_entropy
from aigc_cli.errors import RequestError

pytestmark = pytest.mark.usefixtures("one_thread")

CONFIG = small_config(vocab_size=61, d_model=48, n_layers=3, head_dim=16, d_ff=80, eot_id=60)


def random_ids(*shape: int) -> Tensor:
    return torch.randint(0, CONFIG.vocab_size, shape)


@pytest.mark.parametrize("n_kv_heads", [1, 2, 4])
@pytest.mark.parametrize("length", [1, 7, 40])
@pytest.mark.parametrize("most_stored", [0, 2**24])
def test_attention_is_its_definition(n_kv_heads: int, length: int, most_stored: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layers, "MOST_STORED", most_stored)
    torch.manual_seed(0)
    q = torch.randn(2, 4, length, 16)
    k, v = torch.randn(2, n_kv_heads, length, 16), torch.randn(2, n_kv_heads, length, 16)
    causal = torch.ones(length, length, dtype=torch.bool).tril()
    mask = torch.rand(2, 1, length, length) < 0.5
    mask |= torch.eye(length, dtype=torch.bool)
    repeated = [x.repeat_interleave(4 // n_kv_heads, dim=1) for x in (k, v)]
    torch.testing.assert_close(attention(q, k, v, None), attention_reference(q, *repeated, causal))
    bias = torch.zeros(mask.shape).masked_fill(~mask, -math.inf)
    torch.testing.assert_close(attention(q, k, v, bias), attention_reference(q, *repeated, mask))


def test_rotary_scores_depend_on_distance_alone() -> None:
    model = Transformer(CONFIG)
    q, k = torch.randn(2, 1, 1, 1, 16)

    def score(i: int, j: int) -> Tensor:
        turned = [rotate(x, model.cos[None, n, None, None], model.sin[None, n, None, None]) for x, n in ((q, i), (k, j))]
        return (turned[0] * turned[1]).sum()

    torch.testing.assert_close(score(5, 2), score(25, 22))
    torch.testing.assert_close(score(0, 0), (q * k).sum())
    assert not torch.allclose(score(5, 2), score(5, 3))


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("n_kv_heads", [2, 4])
def test_transformers_opens_the_folder_and_agrees(tmp_path: Path, tied: bool, n_kv_heads: int) -> None:
    from transformers import AutoModelForCausalLM

    model = random_transformer(replace(CONFIG, tied=tied, n_kv_heads=n_kv_heads, dropout=0.25, rope_theta=5000.0))
    save_pretrained(model, tmp_path)
    theirs, report = AutoModelForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    assert type(theirs).__name__ == "Qwen3ForCausalLM"
    assert not report["missing_keys"] and not report["unexpected_keys"]
    assert theirs.config.eos_token_id == theirs.config.bos_token_id == CONFIG.eot_id
    ids = random_ids(2, CONFIG.context)
    with torch.no_grad():
        torch.testing.assert_close(model.logits(model(ids)), theirs(ids).logits, atol=1e-4, rtol=0)
    # What transformers writes can be read back as well.
    theirs.save_pretrained(tmp_path / "again")
    with torch.no_grad():
        again = load_pretrained(tmp_path / "again")
        torch.testing.assert_close(again.logits(again(ids)), model.logits(model(ids)))


def test_a_saved_model_comes_back_exactly(tmp_path: Path) -> None:
    model = random_transformer(replace(CONFIG, tied=False, dropout=0.1))
    save_pretrained(model, tmp_path)
    loaded = load_pretrained(tmp_path)
    assert loaded.config == model.config
    assert not loaded.training
    assert loaded.state_dict().keys() == model.state_dict().keys()
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, loaded.state_dict()[name])


def test_a_broken_model_folder_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"config\.json"):
        load_pretrained(tmp_path)
    save_pretrained(random_transformer(CONFIG), tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    for change, reason in [
        ({"model_type": "gpt2"}, "gpt2"),
        ({"hidden_size": None}, "missing or invalid"),
        ({"hidden_size": 32}, "do not match"),
        ({"num_hidden_layers": 2}, "do not match"),
        ({"num_key_value_heads": 3}, "n_kv_heads"),
        ({"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4}}, "rotary"),
    ]:
        (tmp_path / "config.json").write_text(json.dumps(config | change))
        with pytest.raises(RequestError, match=reason) as caught:
            load_pretrained(tmp_path)
        assert "\n" not in str(caught.value)
    (tmp_path / "config.json").write_text(json.dumps(config))
    weights = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(weights[:-10])
    with pytest.raises(RequestError, match="not a readable model"):
        load_pretrained(tmp_path)


@pytest.mark.parametrize("change", [{"n_kv_heads": 3}, {"head_dim": 15}, {"eot_id": 61}, {"n_layers": 0}, {"dropout": 1.0}])
def test_an_impossible_shape_is_refused(change: dict[str, int]) -> None:
    with pytest.raises(RequestError):
        replace(CONFIG, **change)


def test_no_token_sees_the_future() -> None:
    model = random_transformer(CONFIG)
    ids = random_ids(1, 20)
    changed = ids.clone()
    changed[0, 12] = (ids[0, 12] + 1) % CONFIG.vocab_size
    with torch.no_grad():
        before, after = model(ids), model(changed)
    torch.testing.assert_close(before[:, :12], after[:, :12])
    assert ((before - after)[0, 12:].abs().amax(dim=-1) > 1e-3).all()


def test_packed_documents_do_not_see_each_other() -> None:
    model = random_transformer(CONFIG)
    first, second = random_ids(1, 9), random_ids(1, 14)
    document = torch.tensor([0] * 9 + [1] * 14)
    mask = (document[:, None] == document) & torch.ones(23, 23, dtype=torch.bool).tril()
    positions = torch.cat((torch.arange(9), torch.arange(14)))[None]
    with torch.no_grad():
        packed = model(torch.cat((first, second), dim=1), positions=positions, mask=mask[None, None])
        torch.testing.assert_close(packed[:, :9], model(first))
        torch.testing.assert_close(packed[:, 9:], model(second))


@pytest.mark.parametrize("cut", [1, 5, 19])
def test_reading_in_pieces_is_reading_at_once(cut: int) -> None:
    model = random_transformer(CONFIG)
    ids = random_ids(3, 20)
    cache = KVCache(n_layers=3, batch=3, n_kv_heads=2, width=20, head_dim=16, like=model.head)
    with torch.no_grad():
        pieces = [model(piece, cache=cache) for piece in ids.split([cut, 20 - cut], dim=1)]
        torch.testing.assert_close(torch.cat(pieces, dim=1), model(ids))


def test_a_new_network_is_the_identity_and_knows_nothing() -> None:
    torch.manual_seed(0)
    model = Transformer(replace(CONFIG, vocab_size=1000, d_model=64)).eval()
    ids = torch.randint(0, 1000, (4, 32))
    with torch.no_grad():
        embedded = F.embedding(ids, model.head)
        expected = embedded / (embedded.square().mean(dim=-1, keepdim=True) + CONFIG.norm_eps).sqrt()
        torch.testing.assert_close(model(ids), expected)
        nats = token_nats(model, ids, torch.randint(0, 1000, (4, 32))).mean()
    assert abs(float(nats) - math.log(1000)) < 0.1


def test_dropout_acts_in_training_alone() -> None:
    model = random_transformer(replace(CONFIG, dropout=0.5))
    ids = random_ids(2, 8)
    torch.testing.assert_close(model(ids), model(ids))
    model.train()
    assert not torch.allclose(model(ids), model(ids))


@pytest.mark.parametrize("rows", [1, 3, 10])
def test_cross_entropy_is_its_formula_and_so_are_its_gradients(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    vocab_size = 61
    monkeypatch.setattr(loss_module, "CHUNK", rows * vocab_size)
    hidden = torch.randn(2, 5, 3, requires_grad=True)
    head = torch.randn(vocab_size, 3, requires_grad=True)
    targets = torch.randint(0, vocab_size, (2, 5))
    targets[0, 1] = targets[1, 4] = IGNORED
    loss, n_targets = cross_entropy(hidden, head, targets)
    expected = F.cross_entropy((hidden @ head.t()).flatten(0, 1), targets.flatten(), ignore_index=IGNORED)
    assert n_targets == 8
    torch.testing.assert_close(loss, expected)
    for ours, theirs in zip(
        torch.autograd.grad(3 * loss, (hidden, head)),
        torch.autograd.grad(3 * expected, (hidden, head)),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs)


def test_losses_of_micro_batches_add_up() -> None:
    hidden, head, targets = torch.randn(4, 6, 8), torch.randn(61, 8), random_ids(4, 6)
    targets[0] = IGNORED
    whole, n = cross_entropy(hidden, head, targets)
    parts = [cross_entropy(hidden[rows], head, targets[rows]) for rows in (slice(0, 1), slice(1, 4))]
    torch.testing.assert_close(sum(loss * count for loss, count in parts) / n, whole)
    assert parts[0] == (0, 0)


@pytest.mark.parametrize("rows", [1, 3, 10])
def test_weights_count_targets_more_or_less(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """In chunks too, and in micro-batches: the sum of the weighted terms by the number of targets."""
    torch.manual_seed(0)
    monkeypatch.setattr(loss_module, "CHUNK", rows * 61)
    hidden = torch.randn(2, 5, 3, requires_grad=True)
    head = torch.randn(61, 3, requires_grad=True)
    targets, weights = torch.randint(0, 61, (2, 5)), torch.rand(2, 5)
    targets[0, 1] = targets[1, 4] = IGNORED
    loss, n_targets = cross_entropy(hidden, head, targets, weights)
    terms = F.cross_entropy((hidden @ head.t()).flatten(0, 1), targets.flatten(), ignore_index=IGNORED, reduction="none")
    expected = (terms * weights.flatten()).sum() / 8
    assert n_targets == 8
    torch.testing.assert_close(loss, expected)
    for ours, theirs in zip(
        torch.autograd.grad(3 * loss, (hidden, head)), torch.autograd.grad(3 * expected, (hidden, head)), strict=True
    ):
        torch.testing.assert_close(ours, theirs)
    parts = [cross_entropy(hidden[row], head, targets[row], weights[row]) for row in range(2)]
    torch.testing.assert_close(sum(part * count for part, count in parts) / n_targets, loss)
    unweighted, _ = cross_entropy(hidden, head, targets)
    torch.testing.assert_close(cross_entropy(hidden, head, targets, torch.ones(2, 5))[0], unweighted)


def test_token_nats_are_the_terms_of_the_loss() -> None:
    model = random_transformer(CONFIG)
    ids, targets = random_ids(3, 10), random_ids(3, 10)
    targets[1, 4:] = IGNORED
    nats = token_nats(model, ids, targets)
    loss, n_targets = cross_entropy(model(ids), model.head, targets)
    assert (nats[1, 4:] == 0).all()
    torch.testing.assert_close(nats.sum() / n_targets, loss.detach())


@pytest.mark.parametrize("tied", [True, False])
def test_gradients_reach_every_weight(tied: bool) -> None:
    model = random_transformer(replace(CONFIG, tied=tied, dropout=0.1)).train()
    ids = random_ids(2, 16)
    cross_entropy(model(ids[:, :-1]), model.head, ids[:, 1:])[0].backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_bfloat16_autocast_is_close_to_float32() -> None:
    """As on a GPU: the products in bfloat16, norms, softmax and loss in float32, gradients in float32."""
    model = random_transformer(replace(CONFIG, tied=False))
    ids = random_ids(2, 16)
    exact, _ = cross_entropy(model(ids[:, :-1]), model.head, ids[:, 1:])
    expected = torch.autograd.grad(exact, list(model.parameters()))
    with torch.autocast("cpu", torch.bfloat16):
        loss, _ = cross_entropy(model(ids[:, :-1]), model.head, ids[:, 1:])
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, exact, atol=0.02, rtol=0)
    for grad, other in zip(torch.autograd.grad(loss, list(model.parameters())), expected, strict=True):
        assert grad.dtype == torch.float32
        assert F.cosine_similarity(grad.flatten(), other.flatten(), dim=0) > 0.99


def test_the_norm_s_gradient_is_the_derivative() -> None:
    x = torch.randn(2, 3, 4, 6, requires_grad=True)
    for weight in (torch.randn(6, requires_grad=True), torch.randn(4, 6, requires_grad=True)):
        written = x / (x.square().mean(dim=-1, keepdim=True) + 0.01).sqrt() * weight
        output = rms_norm(x, weight, 0.01)
        torch.testing.assert_close(output, written)
        with torch.no_grad():
            torch.testing.assert_close(rms_norm(x, weight, 0.01), written)
        upstream = torch.randn_like(x)
        torch.testing.assert_close(
            torch.autograd.grad(output, (x, weight), upstream), torch.autograd.grad(written, (x, weight), upstream)
        )


def modules_of(network: Transformer) -> dict[str, nn.Module]:
    """Its modules by name, but for the list of blocks, which is no layer."""
    return {name: module for name, module in network.named_modules() if not isinstance(module, nn.ModuleList)}


@pytest.mark.parametrize("tied", [True, False])
def test_a_hook_on_any_module_fires_and_sees_what_passes(tied: bool) -> None:
    network = random_transformer(replace(CONFIG, tied=tied))
    ids, targets = random_ids(2, 9), random_ids(2, 9)
    fired: list[str] = []

    def record(name: str) -> Callable[..., None]:
        return lambda module, inputs, output: fired.append(name)

    def gradients() -> list[Tensor]:
        network.zero_grad()
        cross_entropy(network.train()(ids), network.head, targets)[0].backward()
        return [parameter.grad.clone() for parameter in network.parameters() if parameter.grad is not None]

    without_hooks = gradients()
    before = network.eval()(ids)
    for name, module in modules_of(network).items():
        module.register_forward_hook(record(name))
    torch.testing.assert_close(gradients(), without_hooks, atol=1e-5, rtol=1e-4)
    # The loss multiplies by the output matrix a few rows at a time, and never makes all logits.
    assert sorted(fired) == sorted(modules_of(network).keys() - {"lm_head"})
    torch.testing.assert_close(network.eval()(ids), before)
    with torch.inference_mode():
        fired.clear()
        state = CausalLM(network).prefill([[1, 2, 3], [4]], room=5)
        assert sorted(fired) == sorted(modules_of(network))
        for _ in range(3):
            fired.clear()
            state.step(state.logits.argmax(dim=-1))
            assert sorted(fired) == sorted(modules_of(network))


@pytest.mark.parametrize("name", ["q_proj", "k_proj", "v_proj", "o_proj", "q_norm", "k_norm"])
def test_an_adapter_in_place_of_a_layer_is_used(name: str) -> None:
    class Halved(nn.Module):
        def __init__(self, base: nn.Module) -> None:
            super().__init__()
            self.base = base

        def forward(self, x: Tensor) -> Tensor:
            half: Tensor = self.base(x) / 2
            return half

    network, expected = random_transformer(CONFIG), random_transformer(CONFIG)
    attention = network.model.layers[1].self_attn
    setattr(attention, name, Halved(getattr(attention, name)))
    with torch.no_grad():
        getattr(expected.model.layers[1].self_attn, name).weight.mul_(0.5)
    ids = random_ids(2, 7)
    torch.testing.assert_close(network(ids), expected(ids))
    cached, wanted = (CausalLM(each).prefill(ids.tolist(), room=1).logits for each in (network, expected))
    torch.testing.assert_close(cached, wanted)
