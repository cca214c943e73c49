"""The networks: shapes, conditioning, gradients, bounds, and what is written to disk."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from networks import SMALL_VAE, disturbed

from aigc_cli.backends.vae.loss import negative_elbo
from aigc_cli.backends.vae.model import VAE, load_pretrained, save_pretrained
from aigc_cli.backends.vae.networks import VAEConfig

CONFIG = SMALL_VAE


def make_model(config: VAEConfig, seed: int = 0) -> VAE:
    torch.manual_seed(seed)
    return disturbed(VAE(config), seed)


def pictures(config: VAEConfig, n: int = 3) -> torch.Tensor:
    levels = 2 if config.likelihood == "bernoulli" else 256
    return torch.randint(0, levels, (n, config.channels, config.height, config.width)) / (levels - 1)


@pytest.mark.parametrize("size", [(28, 28), (32, 32), (48, 64), (17, 31), (5, 1), (1, 1), (16, 256)])
@pytest.mark.parametrize("levels", [1, 3])
@pytest.mark.parametrize("latent_map", [0, 2])
def test_pictures_of_any_size_come_back_in_their_size(size: tuple[int, int], levels: int, latent_map: int) -> None:
    height, width = size
    widths, blocks = (8, 12, 16)[:levels], (1, 0, 1)[:levels]
    config = replace(CONFIG, height=height, width=width, widths=widths, blocks=blocks, latent_map=latent_map)
    model = make_model(config)
    x = pictures(config)
    posterior = model.encode(x)
    assert posterior.mean.shape == posterior.log_var.shape == (3, config.latents)
    assert config.latents == 6 + latent_map * -(-height // 2**levels) * -(-width // 2**levels)
    params = model.decode(posterior.mean)
    assert params.shape == (3, model.likelihood.channels_out, height, width)
    assert model.likelihood.mean(params).shape == x.shape
    assert model.log_likelihood(x, posterior.mean).shape == (3,)


@pytest.mark.parametrize("likelihood", ["bernoulli", "logistics", "gaussian"])
@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("prior", ["flow", "normal"])
def test_every_weight_is_trained(likelihood: Any, channels: int, prior: Any) -> None:
    config = replace(CONFIG, likelihood=likelihood, channels=channels, prior=prior, n_classes=2)
    model = make_model(config).train()
    loss, rate, distortion = negative_elbo(model, pictures(config), torch.tensor([0, 1, -1]))
    loss.backward()
    assert torch.isfinite(torch.stack((loss, rate, distortion))).all()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name


def test_training_begins_with_a_posterior_near_the_prior_and_a_finite_cost() -> None:
    for height, width in ((28, 28), (64, 48)):
        torch.manual_seed(0)
        config = replace(CONFIG, height=height, width=width, likelihood="bernoulli", channels=1)
        model = VAE(config)
        _, rate, distortion = negative_elbo(model, pictures(config, 16))
        assert 0 <= rate < 1
        assert 0.6 < distortion / (height * width) < 0.9  # a fair coin's cost is log 2 a pixel


@torch.no_grad()
def test_a_picture_is_encoded_and_decoded_the_same_beside_others() -> None:
    model = make_model(CONFIG)
    x = pictures(CONFIG, 5)
    together, alone = model.encode(x), model.encode(x[2:3])
    torch.testing.assert_close(together.mean[2:3], alone.mean, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(together.log_var[2:3], alone.log_var, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(model.decode(together.mean)[2:3], model.decode(alone.mean), atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_labels_reach_encoder_decoder_and_prior() -> None:
    config = replace(CONFIG, n_classes=3)
    model = make_model(config)
    labels = torch.tensor([-1, 0, 1, 2])
    x, z = pictures(config, 1).expand(4, -1, -1, -1), torch.randn(1, 6).expand(4, -1)
    for values in (model.encode(x, labels).mean, model.decode(z, labels).flatten(1), model.prior(z, labels)[0]):
        assert len({tuple(row.tolist()) for row in values}) == 4
    with pytest.raises(AssertionError, match="needs labels"):
        model.encode(x)


@torch.no_grad()
def test_the_variance_neither_overflows_nor_vanishes() -> None:
    model = make_model(CONFIG)
    for factor in (1e6, -1e6):
        model.encoder.out.weight.copy_(factor * torch.randn_like(model.encoder.out.weight))
        log_var = model.encode(pictures(CONFIG)).log_var
        assert log_var.abs().max() <= 12
        assert torch.isfinite(log_var.exp()).all() and torch.isfinite((-log_var).exp()).all()


@pytest.mark.parametrize("change", [{}, {"n_classes": 4}, {"prior": "normal"}, {"likelihood": "gaussian"}])
def test_a_saved_model_comes_back_exactly(tmp_path: Path, change: dict[str, Any]) -> None:
    config = replace(CONFIG, **change)
    model = make_model(config)
    save_pretrained(model, tmp_path)
    loaded = load_pretrained(tmp_path)
    assert loaded.config == config
    assert not loaded.training
    assert loaded.state_dict().keys() == model.state_dict().keys()
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, loaded.state_dict()[name])
    x = pictures(config)
    labels = torch.tensor([0, 1, -1]) if config.n_classes else None
    with torch.no_grad():
        z = model.encode(x, labels).mean
        assert torch.equal(z, loaded.encode(x, labels).mean)
        assert torch.equal(model.decode(z, labels), loaded.decode(z, labels))
    assert json.loads((tmp_path / "config.json").read_text())["model_type"] == "aigc-vae"


def test_a_latent_of_the_map_matters_to_its_own_place_most() -> None:
    config = replace(CONFIG, height=32, width=32, latent_map=1, likelihood="gaussian", blocks=(0, 0))
    model = make_model(config)
    z = torch.randn(1, config.latents)
    changed = z.clone()
    changed[0, config.latent + 8 * 2 + 5] += 1  # row 2, column 5 of 8×8: a quarter of the sides
    with torch.no_grad():
        difference = (model.decode(changed) - model.decode(z)).abs().sum(1)[0]
    seen = difference > 0
    assert seen[8:12, 20:24].all() and not seen[:6].any() and not seen[14:].any() and not seen[:, :18].any()


@pytest.mark.parametrize("likelihood", ["bernoulli", "logistics", "gaussian"])
def test_training_begins_without_checkerboards(likelihood: Any) -> None:
    torch.manual_seed(0)
    model = VAE(replace(CONFIG, height=16, width=16, likelihood=likelihood, latent_map=1)).eval()
    with torch.no_grad():
        params = model.decode(torch.randn(2, model.config.latents))
    whole = params.unflatten(3, (8, 2)).unflatten(2, (8, 2))
    assert whole.std() > 0.001
    torch.testing.assert_close(whole, whole[:, :, :, :1, :, :1].expand_as(whole))


def test_logistics_begin_narrower_than_the_range_of_a_pixel() -> None:
    torch.manual_seed(0)
    model = VAE(CONFIG).eval()
    with torch.no_grad():
        picture = model.likelihood.sample(model.decode(torch.randn(64, 6)))
    assert 0.05 < picture.std() < 0.2
