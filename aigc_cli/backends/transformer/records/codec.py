"""The codec of a run: the one that --codec names, or one that is trained first, as a run of its own."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from aigc_cli.backends.base import Codec
from aigc_cli.backends.codecs import codec_backend, open_codec
from aigc_cli.backends.pictures.options import as_pictures
from aigc_cli.backends.transformer.config import Train
from aigc_cli.backends.transformer.loaded import CODEC
from aigc_cli.data import cache
from aigc_cli.data.records.dataset import RecordDataset
from aigc_cli.engine.checkpoints.manifest import damage_above
from aigc_cli.engine.events import Bus, Event, Stage, Trained, display_path
from aigc_cli.engine.runs.finding import find_run
from aigc_cli.engine.runs.run import DONE
from aigc_cli.engine.train import train
from aigc_cli.errors import Interrupted, RequestError
from aigc_cli.options import fields_of

#: The codec's share of the minutes, if it is trained first.
SHARE = 0.35
#: A codec with fewer steps than this is hardly trained.
FEW_STEPS = 100


def given_codec(options: Train, kind: str, settings: Mapping[str, Any], device: str, bus: Bus) -> tuple[Codec, Path] | None:
    """The codec that --codec names, or that of the run of --init-from, and the folder of its model; None without either.

    Raises `RequestError` if that is no codec, a damaged one, or one for another kind of data, or another format than the
    `settings` ask for.
    """
    if options.codec is not None:
        folder = _named(options, bus)
    elif options.init_from is not None and (Path(options.init_from) / "model" / CODEC).is_dir():
        folder = (Path(options.init_from) / "model" / CODEC).resolve()
    else:
        return None
    if fault := damage_above(folder):
        raise RequestError(f"--codec: {fault}; choose another")
    codec = open_codec(folder, device)
    its, name = codec.data["kind"], f"--codec {display_path(folder)}"
    if its != kind:
        raise RequestError(f"{name} is for {its}, and {options.data_source} holds {kind}; choose another")
    decided, fields = as_pictures(kind).settings_of(codec.data), fields_of(Train)
    if others := [fields[name].flag for name, value in settings.items() if value is not None and value != decided[name]]:
        are = ", ".join(f"{fields[name].flag} {decided[name]}" for name in settings)
        raise RequestError(f"{name} is for {kind} of {are}; leave out {' and '.join(others)}, or choose another")
    return codec, folder


def trained_codec(options: Train, records: RecordDataset, device: str, bus: Bus) -> tuple[Codec, Path, bool]:
    """A codec for these records, the folder of its model, and whether it was trained just now. Raises `Interrupted` if training
    it was interrupted."""
    folder, trained = _made(options, records, bus)
    return open_codec(folder, device), folder, trained


def _named(options: Train, bus: Bus) -> Path:
    """The model folder of --codec: a model folder itself, or a run."""
    assert options.codec is not None
    if Path(options.codec).is_absolute() and not Path(options.codec).exists():
        raise RequestError(f"the codec {display_path(Path(options.codec))} is not there any more: its run was moved or went on")
    if (Path(options.codec) / "config.json").is_file():
        return Path(options.codec).absolute()
    run = find_run(Path(options.runs_dir), codec_backend().name, options.codec)
    model = run.require_model()
    run.tell(bus)
    return model.resolve()


def _made(options: Train, records: RecordDataset, bus: Bus) -> tuple[Path, bool]:
    """The model folder of the codec for these data and this budget: trained now, or by the same request before."""
    backend = codec_backend()
    asked = _request(options, records)
    unchanging = {name: getattr(asked, name) for name in ("val", "minutes", "steps", "seed", "threads", "deterministic")}
    key = cache.key_of(records.info["fingerprint"], *records.pictures.form.values(), unchanging)
    name = f"codec-{key[:8]}"
    path = Path(options.runs_dir) / backend.name / name
    if path.exists():
        run = find_run(Path(options.runs_dir), backend.name, name)
        if run.status in DONE:
            things, steps = records.pictures.things, run.steps or 0
            bus.note(f"the codec for these {things} is there already: {display_path(path)}, trained for {steps:,} steps")
            if options.steps is None and steps < FEW_STEPS:
                bus.note(
                    f"so few steps are too few: 'aigc runs rm {run.reference}' removes it, so that it is trained anew",
                    "warning",
                )
            model = run.require_model()
            run.tell(bus)
            return model.resolve(), False
        asked = dataclasses.replace(asked, resume=True)
    share = f"{SHARE:.0%} of the time" if options.steps is None else f"{options.steps:,} steps"
    bus.note(f"first, a codec turns {records.pictures.things} into codes and back: {display_path(path)}, trained for {share}")
    try:
        train(backend.load(), dataclasses.replace(asked, run=name), {}, backend.demo, _told_as_codec(bus))
    except Interrupted as error:
        raise Interrupted(
            f"interrupted while the codec {display_path(path)} was trained; the same command goes on with it",
            error.signal_number,
        ) from None
    return find_run(Path(options.runs_dir), backend.name, name).model.resolve(), True


def _request(options: Train, records: RecordDataset) -> Any:
    """What `aigc train` of the codec's backend would be asked for."""
    backend = codec_backend()
    kind: Any = backend.options["train"]
    shared = {field.name for field in dataclasses.fields(kind)} & {field.name for field in dataclasses.fields(options)}
    own = {"run", "resume", "preset", "batch_size", "micro_batch_size", "lr", "init_from", "config", "dry_run", "patience"}
    own |= {"warmup", "cooldown", "eval_every", "eval_items", "log_every", "dedup"}
    taken = {name: getattr(options, name) for name in shared - own}
    reading = dict(as_pictures(records.pictures.things).settings_of(records.pictures.form))
    if records.spooled is not None:  # standard input can't be read again
        reading |= {"data": str(records.spooled), "input_format": None}
    minutes = None if options.minutes is None else SHARE * options.minutes
    return kind(**{**taken, **reading, **backend.codec_options, "minutes": minutes})


def _told_as_codec(bus: Bus) -> Bus:
    """A bus that tells of the codec's training as a stage of another run, and nothing of its data, which are the same."""

    def tell(event: Event) -> None:
        match event:
            case Stage():
                bus.emit(event)
            case Trained():
                bus.stage("training the codec", event.step, event.steps)

    return Bus(tell)
