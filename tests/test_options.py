from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

from aigc_cli.errors import RequestError
from aigc_cli.options import build, fields_of, gather, option, rebuild, recorded


@dataclass(frozen=True)
class Base:
    config: str | None = option(None, recorded=False)
    """A file."""
    rate: float | None = option(None, above=0, max=1)
    """How fast."""


@dataclass(frozen=True)
class Options(Base):
    count: int = option(3, min=1, unit="pieces")
    """How many
    there are."""
    colour: Literal["red", "green"] = option("red")
    """Which."""
    loud: bool | None = option(None)
    """Whether."""
    stop: tuple[str, ...] = option(())
    """Where to stop."""
    width: int | None = option(None, min=1, aliases=("dim_wide", "w"))
    """How wide."""


def settled(flags: dict[str, object], environ: dict[str, str] | None = None) -> Options:
    return build(Options, gather(Options, flags, environ or {}))


def refusal(flags: dict[str, object], environ: dict[str, str] | None = None) -> str:
    with pytest.raises(RequestError) as caught:
        settled(flags, environ)
    return str(caught.value)


def test_help_is_the_docstring_under_the_field() -> None:
    fields = fields_of(Options)
    assert list(fields) == ["config", "rate", "count", "colour", "loud", "stop", "width"]
    assert fields["count"].help == "How many there are."
    assert fields["rate"].help == "How fast."


def test_precedence_is_flag_environment_file_default(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text("count = 5\nrate = 0.5\ncolour = 'green'\n")
    assert settled({}) == Options()
    assert settled({"config": str(file)}).count == 5
    assert settled({"config": str(file)}, {"AIGC_COUNT": "6"}).count == 6
    assert settled({"config": str(file), "count": 7}, {"AIGC_COUNT": "6"}).count == 7
    assert settled({}, {"AIGC_CONFIG": str(file)}).colour == "green"


def test_wrong_values_name_where_they_came_from(tmp_path: Path) -> None:
    assert refusal({"count": 0}) == "--count must be at least 1 pieces, not 0"
    assert refusal({"rate": 0.0}) == "--rate must be above 0, not 0.0"
    assert refusal({"rate": 2.0}) == "--rate must be at most 1, not 2.0"
    assert refusal({}, {"AIGC_COUNT": "many"}) == "AIGC_COUNT must be a whole number, not 'many'"
    assert refusal({}, {"AIGC_RATE": "nan"}) == "AIGC_RATE must be a number, not 'nan'"
    assert refusal({"colour": "gren"}) == "--colour must be one of red, green, not 'gren'; did you mean 'green'?"
    file = tmp_path / "settings.toml"
    file.write_text("loud = 'perhaps'\n")
    assert refusal({"config": str(file)}) == f"key 'loud' in {file} must be true or false, not 'perhaps'"
    file.write_text("coumt = 3\n")
    assert refusal({"config": str(file)}) == f"unknown key 'coumt' in {file}; did you mean 'count'?"
    file.write_text("count = \n")
    assert refusal({"config": str(file)}).startswith(f"--config {file} is not valid toml: ")
    assert (
        refusal({"config": str(tmp_path / "no.toml")})
        == f"--config {tmp_path / 'no.toml'} cannot be read: No such file or directory"
    )


def test_recorded_options_come_back_from_json() -> None:
    options = settled({"count": 9, "stop": ["a", "b"], "loud": False})
    assert "config" not in recorded(options)
    assert rebuild(Options, {**recorded(options), "stop": ["a", "b"]}) == options


def test_an_earlier_name_keeps_working_everywhere(tmp_path: Path) -> None:
    file = tmp_path / "settings.toml"
    file.write_text("dim-wide = 5\n")
    assert settled({"config": str(file)}).width == 5
    assert settled({"config": str(file)}, {"AIGC_DIM_WIDE": "6"}).width == 6
    assert settled({"config": str(file)}, {"AIGC_DIM_WIDE": "6", "AIGC_WIDTH": "7"}).width == 7
    assert settled({"config": str(file), "dim_wide": 8}, {"AIGC_WIDTH": "7"}).width == 8
    assert gather(Options, {"dim_wide": 8}, {})["width"].where == "--dim-wide"
    assert refusal({"dim_wide": 0}) == "--dim-wide must be at least 1, not 0"
    file.write_text("dim_wide = 5\nwidth = 5\n")
    both = f"key 'dim_wide' in {file} and key 'width' in {file} are the same option; give only one of them"
    assert refusal({"config": str(file)}) == both
    assert refusal({"w": 5, "width": 5}) == "--w and --width are the same option; give only one of them"


def test_what_a_run_recorded_under_an_earlier_name_is_found() -> None:
    assert rebuild(Options, {"dim_wide": 5, "count": 4}) == Options(width=5, count=4)
    assert (
        rebuild(Options, {"dim_wide": 5, "width": None}) == rebuild(Options, {"width": 5, "dim_wide": None}) == Options(width=5)
    )
    assert recorded(Options(width=5))["width"] == 5 and "dim_wide" not in recorded(Options(width=5))
