"""Training in several processes: the result is that of one, to the last bit, whoever computes what and whoever dies."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from conftest import Shell
from test_engine import CPU, PLAN, Regression
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure

from aigc_cli.backends.vae.loss import at_least, kl_to_standard_normal
from aigc_cli.backends.vae.model import Posterior
from aigc_cli.engine.events import Bus
from aigc_cli.engine.processes.group import LostContact, contact
from aigc_cli.engine.processes.launch import LOST, _exit_code, wanted
from aigc_cli.engine.processes.shards import children, joined, share, sum_of, whole_nodes
from aigc_cli.engine.processes.updates import owners
from aigc_cli.engine.settings import TrainOptions
from aigc_cli.engine.trainer import Trainer
from aigc_cli.errors import AigcError, RequestError

SHAPES = ["--data", "demo:shapes?n=120", "--size", "8", "--preset", "nano", "--batch-size", "10", "--eval-items", "8"]
TEXTS = [
    "transformer",
    "--data",
    "verse.txt",
    "--d-model",
    "16",
    "--tokenizer",
    "char",
    "--dropout",
    "0.1",
    "--batch-size",
    "5",
]
TRAINED = {
    "a GAN with classes": ["gan", *SHAPES, "--conditional"],
    "a VAE": ["vae", *SHAPES, "--objective", "likelihood", "--free-bits", "0.5"],
    "a VAE in stages": ["vae", *SHAPES, "--objective", "samples"],
    "packed texts": [*TEXTS, "--n-layers", "2", "--context", "32"],
    "pairs": [*TEXTS, "--preset", "nano", "--lines", "--arch", "encoder-decoder", "--source-ratio", "0.5"],
}
#: A batch of 10 or 5 in parts of unequal size, which two processes share unequally.
STEPS = ["--steps", "12", "--shards", "3"]


@pytest.mark.parametrize("shards", range(1, 12))
def test_a_sum_does_not_depend_on_who_has_which_shards(shards: int) -> None:
    terms = torch.randn(shards, 50) * torch.logspace(-3, 3, 50)
    whole = sum_of((0, shards), lambda i: terms[i].clone())
    for processes in range(1, shards + 1):
        nodes = [whole_nodes((0, shards), share(shards, p, processes)) for p in range(processes)]
        assert [i for of_one in nodes for node in of_one for i in range(*node)] == list(range(shards))
        sums = {node: sum_of(node, lambda i: terms[i].clone()) for of_one in nodes for node in of_one}
        assert torch.equal(joined((0, shards), sums), whole)


def test_the_tree_of_a_power_of_two_is_balanced() -> None:
    assert children((0, 8)) == ((0, 4), (4, 8))
    assert children((0, 6)) == ((0, 4), (4, 6))


def test_the_gradient_of_shards_is_that_of_the_batch_up_to_rounding() -> None:
    whole, cut = (Trainer(Regression, dataclasses.replace(PLAN, shards=n), CPU, Bus()) for n in (1, 3))
    values = [trainer.step(trainer.learner.batch(0), 0) for trainer in (whole, cut)]
    assert [len(part) for part in cut.learner.seen] == [3, 3, 2]  # type: ignore[attr-defined]
    torch.testing.assert_close(values[0].values, values[1].values)
    torch.testing.assert_close(whole.learner.model.weight, cut.learner.model.weight)  # type: ignore[attr-defined]


def test_every_parameter_is_updated_by_one_process_and_they_have_about_the_same() -> None:
    parameters = [torch.nn.Parameter(torch.zeros(n)) for n in (7, 1, 5, 5, 3, 2)]
    found = owners(parameters, 2)
    assert len(found) == 6
    assert sorted(sum(p.numel() for p in found if found[p] == rank) for rank in (0, 1)) == [11, 12]
    assert set(owners(parameters, 1).values()) == {0}


def together(shell: Shell, processes: int, *arguments: object, **environ: str) -> list[subprocess.CompletedProcess[str]]:
    """The command in so many processes, as torchrun starts them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shared = {"WORLD_SIZE": str(processes), "LOCAL_WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    with ThreadPoolExecutor(processes) as pool:
        started = [
            pool.submit(lambda rank=rank: shell(*arguments, **shared, **environ, RANK=str(rank), LOCAL_RANK=str(rank)))
            for rank in range(processes)
        ]
    return [one.result() for one in started]


def result(shell: Shell, run: str) -> tuple[str, list[object]]:
    """A hash of the last checkpoint, and the lines of metrics without times."""
    (path,) = shell.cwd.glob(f"runs/*/{run}")
    last = max((path / "checkpoints").glob("step-*"))
    files = [
        f
        for f in sorted(last.rglob("*"))
        if f.suffix in (".safetensors", ".json") and f.name not in ("position.json", "manifest.json")
    ]
    lines = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    kept = [{name: value for name, value in line.items() if "second" not in name} for line in lines]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest(), kept


@pytest.fixture
def verse(shell: Shell) -> Shell:
    (shell.cwd / "verse.txt").write_text("".join(f"the {a} fox saw {n} hens\n" for n in range(30) for a in ("old", "red")))
    return shell


@pytest.mark.parametrize("what", TRAINED)
def test_two_processes_train_to_the_same_bits_as_one(verse: Shell, what: str) -> None:
    command = ["train", *TRAINED[what], *STEPS, "--run"]
    verse.ok(*command, "one")
    first, second = together(verse, 2, *command, "two")
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert first.stdout and not second.stdout and not second.stderr  # one tells
    assert result(verse, "one") == result(verse, "two")


def test_all_roll_back_together(verse: Shell) -> None:
    command = ["train", "toy", "--poison", "9", *STEPS, "--eval-every", "4", "--run"]
    assert verse(*command, "one").returncode == 1
    first, second = together(verse, 2, *command, "two")
    assert (first.returncode, second.returncode, second.stderr) == (1, 1, "")
    assert "is not finite at step 11 even at a learning rate 8 times smaller" in first.stderr
    events = [line["event"] for line in result(verse, "one")[1]]  # type: ignore[index]
    assert events.count("rolled_back") == 3
    assert result(verse, "one") == result(verse, "two")


def test_a_process_that_dies_is_named_and_the_run_goes_on_with_fewer(verse: Shell) -> None:
    command = [*TRAINED["packed texts"], "--steps", "240", "--eval-every", "120", "--shards", "2"]
    process = verse.start("train", *command, "--run", "killed", "--devices", "2", "--checkpoint-seconds", "0.2", own=True)
    children_of = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    run = verse.cwd / "runs/transformer/killed"
    deadline = time.monotonic() + 120
    while not list(run.glob("checkpoints/step-*")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    ranks = {
        Path(f"/proc/{child}/environ").read_bytes().split(b"\0RANK=")[1][:1]: int(child)
        for child in children_of.read_text().split()
    }
    os.kill(ranks[b"1"], signal.SIGKILL)
    killed = time.monotonic()
    _, told = process.communicate(timeout=60)
    assert process.returncode == 1 and time.monotonic() - killed < 30
    assert [line for line in told.splitlines() if line.startswith("aigc:")] == [
        "aigc: process 1 of 2 was killed by SIGKILL, so all were stopped; a run that was begun goes on with --resume"
    ]
    verse.ok("train", "transformer", "--run", "killed", "--resume")
    verse.ok("train", *command, "--run", "whole")
    assert result(verse, "killed")[0] == result(verse, "whole")[0]


def test_a_second_interrupt_ends_processes_that_hang(tmp_path: Path) -> None:
    code = (
        "import signal, subprocess, sys, time; from pathlib import Path\n"
        "from aigc_cli.engine.processes.launch import kill\n"
        "from aigc_cli.engine.signals import at_the_second\n"
        "started = Path(sys.argv[1]); hangs = subprocess.Popen(['sleep', '60']); (started / str(hangs.pid)).touch()\n"
        "signal.signal(signal.SIGINT, lambda *_: print('interrupted', flush=True))\n"
        "with at_the_second(lambda _: kill(started)):\n"
        "    print('ready', flush=True); print(hangs.wait())\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code, tmp_path], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    for _ in range(2):
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "interrupted\n"
    assert process.communicate(timeout=30)[0] == f"{-signal.SIGKILL}\n"


def test_what_fails_between_processes_that_all_live_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where NCCL finds too little shared memory."""
    told = [tmp_path / "0", tmp_path / "1"]
    monkeypatch.setenv("AIGC_WATCHED", "1")
    for file in told:
        monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(file))
        with pytest.raises(LostContact, match=r"^$"), contact("summing gradients"):
            raise RuntimeError("NCCL error: no shared memory\nand more")
    failures = {rank: ProcessFailure(rank, 1, LOST, str(file)) for rank, file in enumerate(told)}
    with pytest.raises(AigcError) as raised:
        _exit_code(ChildFailedError("aigc", failures), 2, "train")
    assert str(raised.value) == (
        "process 0 of 2 failed: lost contact with another process while summing gradients (NCCL error: no shared memory), "
        "so all were stopped; a run that was begun goes on with --resume"
    )
    failures[1] = ProcessFailure(1, 1, -signal.SIGKILL, "")
    with pytest.raises(AigcError, match=r"^process 1 of 2 was killed by SIGKILL, so all were stopped$"):
        _exit_code(ChildFailedError("aigc", failures), 2, "sample")
    failures[0] = ProcessFailure(0, 1, 128 + signal.SIGTERM, "")  # by the launcher, after the other one's death
    with pytest.raises(AigcError, match=r"^process 1 of 2 was killed by SIGKILL, so"):
        _exit_code(ChildFailedError("aigc", failures), 2, "train")


def test_processes_end_where_their_launcher_is_killed(verse: Shell) -> None:
    command = [*TRAINED["packed texts"], "--steps", "100000", "--eval-every", "50000", "--shards", "2"]
    process = verse.start("train", *command, "--run", "orphans", "--devices", "2", "--checkpoint-seconds", "0.2", own=True)
    run = verse.cwd / "runs/transformer/orphans"
    deadline = time.monotonic() + 120
    while not list(run.glob("checkpoints/step-*")):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.05)
    process.kill()
    process.stdout.close()  # type: ignore[union-attr]
    told = process.stderr.read()  # type: ignore[union-attr]  # to its end, when no process is left
    assert "interrupted at step" in told and json.loads((run / "run.json").read_text())["status"] == "interrupted"


def test_processes_that_are_started_again_go_on_with_their_run(verse: Shell) -> None:
    command = ["train", *TRAINED["packed texts"], *STEPS, "--run", "again"]
    launcher = {"TORCHELASTIC_RUN_ID": "launch-1"}
    verse.ok(*command[:-1], "whole")
    assert not any(done.returncode for done in together(verse, 2, *command, **launcher))
    record = verse.cwd / "runs/transformer/again/run.json"
    record.write_text(record.read_text().replace('"status": "finished"', '"status": "failed"'))
    done = together(verse, 3, *command, **launcher, TORCHELASTIC_RESTART_COUNT="1")
    assert not any(one.returncode for one in done), done[0].stderr
    assert result(verse, "again")[0] == result(verse, "whole")[0]
    assert together(verse, 2, *command, **launcher)[0].returncode == 2  # another launch of the same name is a mistake


REFUSED = {
    "--shards 1 can't be shared by 2 devices; give as many, or more": ["--shards", "1"],
    "a batch of 5 can't be cut into 6 --shards, at least one for each device; give a larger --batch-size": ["--shards", "6"],
    "--data - can be read by one process only; write it to a file, or leave out --devices": ["--data", "-"],
}


@pytest.mark.parametrize("line", REFUSED)
def test_a_wrong_request_is_told_once(verse: Shell, line: str) -> None:
    first, second = together(verse, 2, "train", *TRAINED["packed texts"], "--steps", "2", *REFUSED[line])
    assert (first.returncode, first.stderr) == (2, f"aigc: {line}\n")
    assert (second.returncode, second.stderr) == (2, "") and not (verse.cwd / "runs").exists()


def test_what_the_first_process_finds_wrong_ends_all(verse: Shell) -> None:
    done = verse("train", "vae", "--data", "nothing.csv", "--devices", "2")
    assert (done.returncode, done.stderr) == (2, f"aigc: no such file or folder: {str(verse.cwd / 'nothing.csv')!r}\n")


def test_devices_are_counted() -> None:
    assert wanted(TrainOptions(devices="3")) == 3
    assert wanted(TrainOptions(devices="all", device="cpu")) == 1
    with pytest.raises(RequestError, match="--devices must be a whole number from 1, or all, not '0'"):
        wanted(TrainOptions(devices="0"))


def test_only_the_engine_knows_of_ranks() -> None:
    package = Path(__file__).parents[1] / "aigc_cli"
    knowing = re.compile(r"torch\.distributed|\brank\b.*\bprocess|LOCAL_RANK|WORLD_SIZE|\.leads\b")
    found = {path.relative_to(package) for path in package.rglob("*.py") if knowing.search(path.read_text())}
    assert found and all(path.is_relative_to("engine") for path in found), found


def test_free_bits_are_of_the_whole_batch() -> None:
    """A part whose own rate is below them, in a batch whose rate is above, and the other way round."""
    posterior = Posterior(torch.tensor([[0.1], [2.0]], requires_grad=True), torch.zeros(2, 1))
    low, high = kl_to_standard_normal(posterior).sum(-1)
    of_batch = ((low + high) / 2)[None]
    assert low < 0.5 < of_batch < high
    assert at_least(low, 0.5, of_batch.detach()) == low and at_least(low, 0.5, None) == 0.5
    assert at_least(high, 1.5, of_batch.detach()) == 1.5 and at_least(high, 1.5, None) == high


@pytest.mark.parametrize("verb", ["sample", "eval"])
def test_three_processes_sample_and_measure_what_one_does(verse: Shell, verb: str) -> None:
    for name in ("a GAN with classes", "packed texts"):
        trained, *_ = TRAINED[name]
        verse.ok("train", *TRAINED[name], "--steps", "2", "--run", trained)
        asked = [verb, trained, "--run", trained, "--batch-size", "2", "--seed", "5", "--json", "-n", "7"]
        into = ["--out", f"{trained}.npz", "--force"] if (verb, trained) == ("sample", "gan") else []
        alone = verse.ok(*asked, *into)
        written = [(verse.cwd / name).read_bytes() for name in into[1:2]]
        first, *others = together(verse, 3, *asked, *into)
        assert first.returncode == 0, first.stderr
        assert first.stdout == alone and [(verse.cwd / name).read_bytes() for name in into[1:2]] == written
        assert [(one.returncode, one.stdout, one.stderr) for one in others] == [(0, "", "")] * 2
