"""Words, pictures and questions of demo:scenes, where what a picture shows is read off exactly.

    python tests/benchmarks/obedience.py [--minutes 20] [--shapes 1] [--holdout 0.7] [--n 20000] [--each 500] [--only draws names asks]

A share of the combinations of attributes, `--holdout`, is in no training picture. `draws` draws pictures for captions of those (of
the test split): the share with every attribute that the caption names right, and of each attribute; beside that of real pictures
and of pictures that only went through the codec. `names` writes captions for such pictures: the share that means what the picture
shows. `asks` answers questions about them, by the question's first words; beside the most frequent answer to such questions, and the
answers when each picture is another one. Runs are kept in `--folder`; the codec is trained once, in its share of the minutes of the
first.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pictures import write_sheet

from aigc_cli.backends.codecs import open_codec
from aigc_cli.data.pictures.dataset import like
from aigc_cli.data.records.dataset import RecordArrays, RecordRequest, prepare_records
from aigc_cli.data.records.scene_words import meaning_of
from aigc_cli.data.records.scenes import obeys, read_scene
from aigc_cli.metrics.statistics.proportion import proportion

FIELDS = {"draws": "caption,picture", "names": "picture,caption", "asks": "picture,question,answer"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--shapes", type=int)
    parser.add_argument("--holdout", type=float, default=0.7)
    parser.add_argument("--n", type=int, default=20_000)
    parser.add_argument("--each", type=int, default=500, help="samples that are judged")
    parser.add_argument("--guidance", type=float)
    parser.add_argument("--only", nargs="+", choices=[*FIELDS], default=[*FIELDS])
    parser.add_argument("--threads", type=int)
    parser.add_argument("--folder", type=Path, default=Path("obedience"))
    options = parser.parse_args()
    shapes = "" if options.shapes is None else f"&shapes={options.shapes}"
    data = f"demo:scenes?n={options.n}&holdout={options.holdout}{shapes}"
    threads = [] if options.threads is None else ["--threads", options.threads]
    for task in options.only:
        run = options.folder / "transformer" / task
        shared = ["--runs-dir", options.folder]
        if not (run / "model").exists():
            asked = ["--data", data, "--fields", FIELDS[task], "--run", task, "--minutes", options.minutes]
            aigc("train", "transformer", *asked, *shared, *threads)
        fields = tuple(FIELDS[task].split(","))
        codec = open_codec((run / "model" / "codec").resolve(), "cpu")
        held = prepare_records(RecordRequest(data, fields=fields), like(codec.data), progress=lambda *_: None).report
        chosen = np.random.default_rng(0).permutation(len(held))[: options.each]
        given = [_given(held, number, fields[:-1], options.folder / "given") for number in chosen.tolist()]
        if task == "draws":
            drawn = _drawn(run, given, shared, options)
            captions = [held.texts["caption"][number] for number in chosen.tolist()]
            real = held.pictures.take(chosen)
            write_sheet(options.folder, "draws", drawn)
            for what, pixels in (("drawn", drawn), ("reconstructed", codec.decode(codec.encode(real))), ("real", real)):
                _tell(f"{task}: {what}", [obeys(read_scene(one), text) for one, text in zip(pixels, captions, strict=True)])
            continue
        answers = _written(run, given, shared)
        wanted = [held.texts[fields[-1]][number] for number in chosen.tolist()]
        if task == "names":
            right = [meaning_of(text) == meaning_of(truth) for text, truth in zip(answers, wanted, strict=True)]
            shown = [_true(text, one) for text, one in zip(answers, held.pictures.take(chosen), strict=True)]
            print(f"{task}: means the same as the caption {_share(right)}; true of the picture {_share(shown)}", flush=True)
            continue
        others = [{**one, "picture": other["picture"]} for one, other in zip(given, given[1:] + given[:1], strict=True)]
        _tell_answers(given, answers, _written(run, others, shared), wanted)


def _given(held: RecordArrays, number: int, fields: Sequence[str], folder: Path) -> dict[str, str]:
    """The fields of a record that are given, its picture as a file."""
    given = {}
    for name in fields:
        if name == "picture":
            from PIL import Image

            folder.mkdir(parents=True, exist_ok=True)
            path = folder / f"{int(held.pictures.rows[number])}.png"
            if not path.exists():
                Image.fromarray(held.pictures.take([number])[0]).save(path)
            given[name] = str(path.absolute())
        else:
            given[name] = held.texts[name][number]
    return given


def aigc(*arguments: object, input: str | None = None) -> str:
    """Run `aigc`. Returns what it printed."""
    command = [sys.executable, "-m", "aigc_cli.app", *map(str, arguments)]
    return subprocess.run(command, check=True, input=input, stdout=subprocess.PIPE, text=True).stdout


def _lines(given: Iterable[Mapping[str, str]]) -> str:
    return "".join(json.dumps(one) + "\n" for one in given)


def _drawn(run: Path, given: Sequence[Mapping[str, str]], shared: Sequence[Any], options: Any) -> NDArray[np.uint8]:
    out = run.parent.parent / "drawn.npz"
    guidance = [] if options.guidance is None else ["--guidance", options.guidance]
    arguments = ["--given", "-", "-n", 1, "--seed", 0, "--out", out, "--force", *guidance, *shared]
    aigc("sample", "transformer", "--run", run.name, *arguments, input=_lines(given))
    with np.load(out) as arrays:
        return next(arrays[name] for name in arrays.files if arrays[name].ndim == 4)


def _written(run: Path, given: Sequence[Mapping[str, str]], shared: Sequence[Any]) -> list[str]:
    arguments = ["--given", "-", "-n", 1, "--seed", 0, "--temperature", 0, "--json", *shared]
    lines = aigc("sample", "transformer", "--run", run.name, *arguments, input=_lines(given))
    return [json.loads(line)["text"] for line in lines.splitlines()]


def _true(text: str, pixels: NDArray[np.uint8]) -> bool:
    """Whether a text is a caption, and true of the picture."""
    return meaning_of(text) is not None and all(obeys(read_scene(pixels), text).values())


def _share(right: Sequence[bool]) -> str:
    found = proportion(right)
    return f"{found.value:.3f} [{found.low:.3f}, {found.high:.3f}] (n = {found.n})"


def _tell(what: str, judged: Sequence[Mapping[str, bool]]) -> None:
    print(f"{what}: every attribute right {_share([all(one.values()) for one in judged])}", flush=True)
    for name in dict.fromkeys(name for one in judged for name in one):
        print(f"    {name} {_share([one[name] for one in judged if name in one])}", flush=True)


def _tell_answers(
    given: Sequence[Mapping[str, str]], answers: Sequence[str], of_others: Sequence[str], wanted: Sequence[str]
) -> None:
    by_kind: dict[str, list[int]] = defaultdict(list)
    for number, one in enumerate(given):
        by_kind[" ".join(one["question"].split()[:2])].append(number)
    for kind, numbers in {"all": list(range(len(given))), **by_kind}.items():
        truths = [wanted[number] for number in numbers]
        ((frequent, _),) = Counter(truths).most_common(1)
        right, other = ([texts[number] == wanted[number] for number in numbers] for texts in (answers, of_others))
        print(
            f"asks: {kind}: right {_share(right)}; always {frequent!r} {_share([frequent == truth for truth in truths])}; "
            f"another picture {_share(other)}",
            flush=True,
        )


if __name__ == "__main__":
    main()
