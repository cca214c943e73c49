"""Model folders from a stranger: whatever their files say is refused in a line, before it is computed or allocated."""

from __future__ import annotations

import json
import math
import resource
import struct
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from networks import SMALL_GAN, SMALL_VAE
from torch import nn

from aigc_cli.backends.gan import model as gan
from aigc_cli.backends.transformer.decoder_only import model as decoder_only
from aigc_cli.backends.transformer.encoder_decoder import model as encoder_decoder
from aigc_cli.backends.transformer.prompts import Start
from aigc_cli.backends.vae import model as vae
from aigc_cli.backends.vae.codes.codec import FORMAT, read_data
from aigc_cli.backends.vae.networks import VAEConfig
from aigc_cli.errors import RequestError

TEXT = decoder_only.TransformerConfig(
    vocab_size=20, d_model=8, n_layers=1, n_heads=2, n_kv_heads=1, head_dim=4, d_ff=16, context=16, eot_id=0
)
ANSWERS = encoder_decoder.EncoderDecoderConfig(
    vocab_size=20, d_model=8, n_heads=2, num_encoder_layers=1, num_decoder_layers=1, d_ff=16, context=16, sos_id=0, eos_id=1
)
CODES = VAEConfig(
    height=8, width=8, channels=1, latent=0, widths=(8,), blocks=(1,), vector_width=8, likelihood="picture", vector_blocks=0,
    latent_map=2, prior="none", levels=(4, 4),
)  # fmt: skip
MODELS: dict[str, tuple[Callable[[], nn.Module], Callable[[Any, Path], None], Callable[[Path], nn.Module]]] = {
    "gan": (lambda: gan.Generator(SMALL_GAN), gan.save_pretrained, gan.load_pretrained),
    "vae": (lambda: vae.VAE(SMALL_VAE), vae.save_pretrained, vae.load_pretrained),
    "codec": (lambda: vae.VAE(CODES), vae.save_pretrained, vae.load_pretrained),
    "decoder-only": (lambda: decoder_only.Transformer(TEXT), decoder_only.save_pretrained, decoder_only.load_pretrained),
    "encoder-decoder": (
        lambda: encoder_decoder.EncoderDecoder(ANSWERS), encoder_decoder.save_pretrained, encoder_decoder.load_pretrained,
    ),
}  # fmt: skip
HOSTILE = (
    10**9,
    10**30,
    2**20,
    20_000,
    0,
    -1,
    1.5,
    1e308,
    float("nan"),
    True,
    None,
    "x",
    [],
    [10**9],
    [2**20] * 3,
    {},
    {"a": {}},
)


@pytest.fixture(params=list(MODELS), scope="module")
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp(request.param.replace("-", "_"))
    new, save, _ = MODELS[request.param]
    save(new(), folder)
    return folder


@pytest.fixture
def load(request: pytest.FixtureRequest, folder: Path) -> Callable[[Path], nn.Module]:
    return MODELS[request.node.callspec.params["folder"]][2]


def peak() -> int:
    """Bytes of memory that this process has had at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def outcome(load: Callable[[Path], nn.Module], folder: Path) -> str:
    """The line that refuses a folder, or "" if it is opened."""
    try:
        load(folder)
    except RequestError as error:
        assert "\n" not in str(error) and len(str(error)) < 1000
        return str(error)
    return ""


def test_whatever_a_configuration_asks_for(folder: Path, load: Callable[[Path], nn.Module]) -> None:
    """Every value replaced by every hostile one; what is no size of the network, such as the dropout, may still be opened."""
    config = json.loads((folder / "config.json").read_text())
    before = peak()
    refused = 0
    for name in config:
        for value in HOSTILE:
            (folder / "config.json").write_text(json.dumps({**deepcopy(config), name: value}))
            refused += bool(outcome(load, folder))
    (folder / "config.json").write_text(json.dumps(config))
    assert outcome(load, folder) == "" and refused > len(HOSTILE) * len(config) / 3
    assert peak() - before < 1 << 30


def test_a_billion_layers_are_refused(folder: Path, load: Callable[[Path], nn.Module]) -> None:
    config = json.loads((folder / "config.json").read_text())
    name = next(name for name in ("num_hidden_layers", "num_decoder_layers", "blocks") if name in config)
    for many in (10**9, 10**6, 5000):
        value = [many] * len(config[name]) if name == "blocks" else many
        (folder / "config.json").write_text(json.dumps({**config, name: value}))
        told = outcome(load, folder)
        assert "config.json has the number 1000000000" in told or "it asks for" in told or "weights" in told
    (folder / "config.json").write_text(json.dumps(config))


def test_weights_that_are_not_what_their_header_says(folder: Path, load: Callable[[Path], nn.Module]) -> None:
    file = folder / "model.safetensors"
    whole = file.read_bytes()
    (size,) = struct.unpack("<Q", whole[:8])
    header = json.loads(whole[8 : 8 + size])
    name = next(name for name in header if name != "__metadata__")

    def with_header(**changes: Any) -> bytes:
        text = json.dumps({**header, name: {**header[name], **changes}}).encode()
        return struct.pack("<Q", len(text)) + text + whole[8 + size :]

    hostile = [
        b"", whole[:8], whole[:-1], whole + b"\0", struct.pack("<Q", 1 << 62) + whole[8:], b"\xff" * 100,
        struct.pack("<Q", 50_000_000) + b"[" * 50_000_000, with_header(shape=[10**9, 10**9]), with_header(shape=[-1]),
        with_header(dtype="F64"), with_header(dtype="object"), with_header(data_offsets=[0, 1 << 60]), with_header(shape=[]),
    ]  # fmt: skip
    for content in hostile:
        file.write_bytes(content)
        assert outcome(load, folder), content[:60]
    file.write_bytes(whole)
    (folder / "config.json").rename(folder / "kept")
    for text in ("", "[" * 100_000, '{"a": ' * 100_000, "null", "3", '"x"'):
        (folder / "config.json").write_text(text)
        assert outcome(load, folder), text[:20]
    (folder / "kept").rename(folder / "config.json")
    assert outcome(load, folder) == ""


@pytest.mark.parametrize(
    "start", [[], {"of_kind": {}}, {"of_kind": {"kind": []}}, {"fields": [1]}, {"unseen": ["a"]}, {"codes": 3}]
)
def test_how_texts_start_is_said_in_a_way_that_is_known(tmp_path: Path, start: object) -> None:
    said = {"with_eot": True, **start} if isinstance(start, dict) else start
    (tmp_path / "aigc.json").write_text(json.dumps({"start": said}))
    with pytest.raises(RequestError, match=r"aigc.json cannot be read"):
        Start.load(tmp_path)


@pytest.mark.parametrize(
    "value", [{"width": math.inf}, {"height": -math.inf}, {"white": math.inf}, {"region": []}, {"region": [8]}]
)
def test_a_format_of_no_size_is_refused(tmp_path: Path, value: dict[str, object]) -> None:
    format = {"height": 8, "width": 8, "mode": "RGB", "fit": "crop", **value}
    (tmp_path / FORMAT).write_text(json.dumps(format))
    with pytest.raises(RequestError, match="is not the format of a codec's pictures: a size cannot be read"):
        read_data(tmp_path, SMALL_VAE)
