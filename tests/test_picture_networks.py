"""Saving and loading networks of all picture backends."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from networks import SMALL_GAN, SMALL_VAE

from aigc_cli.backends.gan import model as gan
from aigc_cli.backends.pictures.networks import PictureNetworkConfig
from aigc_cli.backends.vae import model as vae
from aigc_cli.errors import RequestError


@dataclass(frozen=True)
class Kind:
    config: PictureNetworkConfig
    least_latent: int
    save: Callable[[Path], None]
    load: Callable[[Path], object]


KINDS = {
    "gan": Kind(SMALL_GAN, 1, lambda folder: gan.save_pretrained(gan.Generator(SMALL_GAN), folder), gan.load_pretrained),
    "vae": Kind(SMALL_VAE, 2, lambda folder: vae.save_pretrained(vae.VAE(SMALL_VAE), folder), vae.load_pretrained),
}


@pytest.fixture(params=list(KINDS))
def kind(request: pytest.FixtureRequest) -> Kind:
    return KINDS[request.param]


def test_a_folder_that_is_no_model_is_refused_in_one_line(kind: Kind, tmp_path: Path) -> None:
    def refusal() -> str:
        with pytest.raises(RequestError) as caught:
            kind.load(tmp_path)
        message = str(caught.value)
        assert "\n" not in message
        return message

    assert "not a readable model folder" in refusal()
    kind.save(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())

    def with_config(**changes: Any) -> str:
        (tmp_path / "config.json").write_text(json.dumps({**config, **changes}))
        return refusal()

    assert "the weights do not match" in with_config(latent=8)
    assert f"the model type is 'qwen3'; only {kind.config.model_type!r} can be opened" in with_config(model_type="qwen3")
    assert "has a missing or invalid value" in with_config(unknown=1)
    assert "has a missing or invalid value" in with_config(widths=8)
    assert "latent is 'six'; it must be an integer " in with_config(latent="six")
    (tmp_path / "config.json").write_text("[]")
    assert "the model type is None" in refusal()
    (tmp_path / "config.json").write_text("{")
    assert "not a readable model folder" in refusal()
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").write_bytes(b"no weights")
    assert "not a readable model folder" in refusal()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"height": 0}, "height is 0; it must be an integer of at least 1"),
        ({"widths": (8,)}, "widths (8,) and blocks (1, 2) must have one number for each level"),
        ({"widths": (8, 0)}, "widths (8, 0) must be integers of at least 1 and blocks (1, 2) of at least 0"),
    ],
)
def test_a_shape_that_no_network_has_is_refused(kind: Kind, change: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError) as caught:
        replace(kind.config, **change)
    assert str(caught.value) == message


def test_the_fewest_latents(kind: Kind) -> None:
    with pytest.raises(RequestError, match=f"must be an integer of at least {kind.least_latent}"):
        replace(kind.config, latent=kind.least_latent - 1)
    assert replace(kind.config, latent=kind.least_latent).latent == kind.least_latent


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prior": "vamp"}, "prior is 'vamp'; it must be one of flow, normal, matching, none"),
        ({"prior": "matching"}, "latent is 6 and latent_map 0; a prior of a map needs 0 and at least 1"),
        ({"likelihood": "poisson"}, "likelihood is 'poisson'; it must be one of bernoulli, logistics, gaussian, picture"),
    ],
)
def test_a_vae_knows_its_priors_and_likelihoods(change: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError) as caught:
        replace(SMALL_VAE, **change)
    assert str(caught.value) == message
