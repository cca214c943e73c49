"""Every command of the README and every script in examples/ is run."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from conftest import Shell
from PIL import Image
from sounding import write_beeps
from test_music import piece

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def commands() -> list[str]:
    """The lines of the tour's blocks that call aigc."""
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", README[README.index("## A tour") :], flags=re.M | re.S)
    return [line for language, block in blocks if not language for line in block.splitlines() if "aigc " in line]


@pytest.fixture(scope="module")
def tour(module_shell: Shell) -> Shell:
    """A directory with the files that the README speaks of, and `aigc` on the path."""
    cwd = module_shell.cwd
    rows = [
        f"{i}\t{a}\tThe {a} moon went over the {b} hill and {c} came number {i}"
        for i in range(60)
        for a, b, c in [("old", "far", "morning"), ("red", "low", "winter")]
    ]
    (cwd / "poems.tsv").write_text("\n".join(["title\tauthor\ttext", *rows]) + "\n")
    (cwd / "more-poems.tsv").write_text("\n".join(["title\tauthor\ttext", *rows[:9]]) + "\n")
    pairs = [f"The {a} moon {i}\tThe {b} hill {i}" for i in range(60) for a, b in [("old", "far"), ("red", "low")]]
    (cwd / "pairs.tsv").write_text("\n".join(["line\treply", *pairs]) + "\n")
    (cwd / "prompts.tsv").write_text("1\tThe old\n2\tThe red\n")
    (cwd / "titles.jsonl").write_text('{"title": "1"}\n{"title": "2", "author": "old"}\n')
    (cwd / "book.txt").write_text("The king sat down. The queen stood up, and nobody said a word.\n" * 200)
    (cwd / "chorales").mkdir()
    for number in range(12):
        piece(number).dump_midi(cwd / "chorales" / f"{number:02}.mid")
    draw = np.random.default_rng(0)
    for folder in ("photos", "animals/cat", "animals/dog"):
        (cwd / folder).mkdir(parents=True)
        for i in range(40):
            Image.fromarray(draw.integers(0, 256, (12, 16, 3), dtype=np.uint8)).save(cwd / folder / f"{i:02}.png")
    write_beeps(cwd / "drums", n=10, names=("kick", "snare"))
    words = [f"photos/{i:02}.png\ta {'red' if i % 2 else 'blue'} heart" for i in range(40)]
    (cwd / "captions.tsv").write_text("\n".join(["picture\tcaption", *words]) + "\n")
    (cwd / "textures").mkdir()
    Image.fromarray(draw.integers(0, 256, (128, 192, 3), dtype=np.uint8)).save(cwd / "textures" / "wall.png")
    for name in ("a", "b"):
        (cwd / f"{name}.png").write_bytes((cwd / "photos" / f"0{int(name, 16) - 10}.png").read_bytes())
    bin = cwd / "bin"
    bin.mkdir()
    (bin / "aigc").write_text(f'#!/bin/sh\nexec {shlex.join(module_shell.command)} "$@"\n')
    (bin / "aigc").chmod(0o755)
    return module_shell


def run(tour: Shell, line: str, **environ: str) -> None:
    if shutil.which("jq") is None:
        line = re.sub(r"\| jq .*", "", line)
    small = {"AIGC_STEPS": "3", "AIGC_PRESET": "nano", "AIGC_EVAL_ITEMS": "16"}
    env = {**tour.env, **small, "PATH": f"{tour.cwd / 'bin'}:{tour.env['PATH']}", **environ}
    done = subprocess.run(["bash", "-o", "pipefail", "-c", line], cwd=tour.cwd, env=env, capture_output=True, text=True)
    assert done.returncode == 0, f"{line}\n{done.stderr}"
    assert done.stdout.strip()


def test_the_readme_has_a_tour() -> None:
    assert len(commands()) >= 12
    assert "FIGURES" not in README


def test_what_the_readme_shows_and_links_to_is_there() -> None:
    targets = [target for target in re.findall(r"\]\(([^)#]+)\)", README) if "://" not in target]
    assert "examples/gallery.svg" in targets
    assert [target for target in targets if not (ROOT / target).exists()] == []


@pytest.mark.slow
def test_every_command_of_the_tour(tour: Shell) -> None:
    for line in commands():
        # Of a model that has hardly learned, some texts are empty. Those of this seed aren't.
        run(tour, line, **({"AIGC_SEED": "1"} if "aigc sample transformer" in line else {}))


@pytest.mark.slow
@pytest.mark.parametrize("script", sorted((ROOT / "examples").glob("*.sh")), ids=lambda path: path.name)
def test_examples(tour: Shell, script: Path) -> None:
    run(tour, str(script))
