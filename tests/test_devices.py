"""How a GPU is chosen and fed, shown without one."""

from __future__ import annotations

import resource
import sys
import threading
import weakref
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from test_engine import CPU, PLAN, Regression

from aigc_cli.engine import device as devices
from aigc_cli.engine.device import batches, claim_device, open_device, resolve_device
from aigc_cli.engine.events import Bus, Event, Note
from aigc_cli.engine.learner import Batch, Loss
from aigc_cli.engine.processes.group import Processes
from aigc_cli.engine.processes.launch import WATCHED, wanted
from aigc_cli.engine.processes.messages import packed, unpacked
from aigc_cli.engine.settings import TrainOptions
from aigc_cli.engine.trainer import Trainer
from aigc_cli.errors import RequestError


@pytest.fixture
def two_gpus(monkeypatch: pytest.MonkeyPatch) -> list[torch.device]:
    """Pretends that PyTorch sees two GPUs, of which the second is the current one. Returns those made current."""
    current: list[torch.device] = []
    for name, fake in {
        "is_available": lambda: True,
        "device_count": lambda: 2,
        "current_device": lambda: 1,
        "set_device": current.append,
    }.items():
        monkeypatch.setattr(torch.cuda, name, fake)
    return current


@pytest.fixture
def launched(monkeypatch: pytest.MonkeyPatch) -> Callable[[int, int], None]:
    """Pretends that this process is one of several on this machine."""

    def launch(place: int, beside: int) -> None:
        known = {"WORLD_SIZE": beside, "LOCAL_RANK": place, "MASTER_ADDR": "here", WATCHED: 1}
        for name, value in known.items():
            monkeypatch.setenv(name, str(value))
        monkeypatch.setattr(devices, "current", lambda: Processes(place, beside, beside))

    return launch


@pytest.mark.parametrize(("asked", "found"), [("auto", "cuda:1"), ("cuda", "cuda:1"), ("cuda:0", "cuda:0"), ("cpu", "cpu")])
def test_a_gpu_has_its_number_and_is_the_current_one(two_gpus: list[torch.device], asked: str, found: str) -> None:
    """Another thread's current one is always the first."""
    assert resolve_device(asked) == torch.device(found)
    assert two_gpus == [torch.device(found)] * (found != "cpu")


@pytest.mark.parametrize("recorded", ["cuda", "cuda:1"])
def test_each_process_has_a_gpu_of_its_own_also_in_a_run_begun_on_one(
    two_gpus: list[torch.device], launched: Callable[[int, int], None], recorded: str
) -> None:
    for place in (0, 1):
        launched(place, 2)
        device, options = claim_device(TrainOptions(device=recorded, precision="fp32", threads=torch.get_num_threads()))
        assert (device, options.device) == (torch.device("cuda", place), recorded)


def test_there_must_be_as_many_gpus_as_devices(
    two_gpus: list[torch.device], launched: Callable[[int, int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    launched(0, 3)
    assert resolve_device("cpu") == CPU
    with pytest.raises(RequestError, match="--devices 3: PyTorch sees 2 CUDA devices here; give fewer, or --device cpu"):
        resolve_device("cuda")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    with pytest.raises(RequestError, match="there is only one Metal device: leave out --devices, or give --device cpu"):
        resolve_device("mps")


@pytest.mark.parametrize("number", ["2", "all"])
def test_several_devices_are_not_one_of_a_number(number: str) -> None:
    with pytest.raises(RequestError, match="--device cuda:1 names a single device; give --device cuda, or leave out --devices"):
        wanted(TrainOptions(device="cuda:1", devices=number))
    assert wanted(TrainOptions(device="cuda:1", devices="1")) == 1


@pytest.mark.parametrize(("kind", "ahead"), [("cuda", True), ("mps", False)])
def test_batches_are_copied_ahead_unless_that_takes_two_threads_on_metal(
    monkeypatch: pytest.MonkeyPatch, kind: str, ahead: bool
) -> None:
    threads: list[bool] = []

    def copied(batch: Batch, device: torch.device) -> Batch:
        threads.append(threading.current_thread() is not threading.main_thread())
        return {name: tensor + 1 for name, tensor in batch.items()}

    monkeypatch.setattr(devices, "to_device", copied)
    found = list(batches(lambda step: {"x": torch.tensor(step)}, 3, 6, torch.device(kind)))
    assert [(int(here["x"]), int(there["x"])) for here, there in found] == [(3, 4), (4, 5), (5, 6)]
    assert threads == [ahead] * 3


def test_memory_is_freed_when_nothing_holds_what_did_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    computed: list[weakref.ref[torch.Tensor]] = []
    freed: list[bool] = []

    class Hungry(Regression):
        def loss(self, batch: Batch) -> Loss:
            activations = batch["x"].clone()
            if len(activations) > 4:
                computed.append(weakref.ref(activations))
                raise torch.OutOfMemoryError("no memory left")
            return super().loss(batch)

    monkeypatch.setattr("aigc_cli.engine.step.free_memory", lambda device: freed.append(computed[-1]() is None))
    trainer = Trainer(Hungry, PLAN, CPU, Bus())
    trainer.step(trainer.learner.batch(0), 0)
    assert freed == [True]


@pytest.mark.skipif(sys.platform != "linux", reason="limits the address space")
def test_a_batch_that_the_system_has_no_memory_for_is_halved() -> None:
    class Large(Regression):
        def loss(self, batch: Batch) -> Loss:
            torch.empty(len(batch["x"]), 1 << 28)  # a gigabyte an example
            return super().loss(batch)

    notes: list[Event] = []
    trainer = Trainer(Large, PLAN, CPU, Bus(notes.append))
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + (5 << 29), hard))
    try:
        trainer.step(trainer.learner.batch(0), 0)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
    assert trainer.state.micro_batches == 4
    assert [note.text for note in notes if isinstance(note, Note)] == [
        f"out of memory: splitting each batch into {parts} micro-batches" for parts in (2, 4)
    ]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.int64, torch.bool])
def test_tensors_pass_between_processes_with_every_bit(dtype: torch.dtype) -> None:
    """Autocast on a GPU makes bfloat16, which NumPy lacks."""
    sent = torch.tensor([[0.1, -3.0], [0.0, 1e4]], requires_grad=True).to(dtype).T
    (received,) = unpacked(packed([sent]))
    assert received.dtype == dtype and torch.equal(received, sent)


def test_convolutions_in_float32_are_not_rounded_to_tf32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)
    open_device("cpu")
    assert not torch.backends.cudnn.allow_tf32
