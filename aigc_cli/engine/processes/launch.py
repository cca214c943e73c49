"""Starting several processes on this machine with PyTorch's elastic launcher, as `torchrun` does. Free of torch at import."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from aigc_cli.engine.signals import at_the_second
from aigc_cli.errors import AigcError, RequestError

if TYPE_CHECKING:
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

T = TypeVar("T")

#: Set for the processes that `launch` started to its own, which tells the user of those that died, and the folder where they
#: name themselves.
WATCHED = "AIGC_WATCHED"
#: The exit code of a process that can't go on because another one doesn't answer. The user sees 1.
LOST = 75
#: Seconds between looks at the processes, and those they get to write a checkpoint after a signal.
LOOK, PATIENCE = 0.1, 120


def launched() -> bool:
    """Whether a launcher started this process as one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1 and "MASTER_ADDR" in os.environ


def follows() -> bool:
    """Whether this process leaves all telling and writing to another."""
    return launched() and int(os.environ["RANK"]) > 0


def place() -> int:
    """The number of this process among those that a launcher started on this machine."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def launch_id(*, again: bool = False) -> str | None:
    """What the launcher calls this launch; with `again`, only if it has started the processes again after one had died."""
    known = os.environ.get("TORCHELASTIC_RUN_ID")
    return known if not again or int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0 else None


def agreed(value: T) -> T:
    """The value that the first process has."""
    if not launched():
        return value
    from aigc_cli.engine.processes.group import join

    return join().agree(value)


def tell_launcher(message: str) -> None:
    """Leave the message of an error where the launcher looks for it."""
    if file := os.environ.get("TORCHELASTIC_ERROR_FILE"):
        with suppress(OSError):
            Path(file).write_text(json.dumps({"message": message, "timestamp": int(time.time())}))


def wanted(options: Any) -> int:
    """The number of processes to start for --devices; 1 if this one is enough, or one of several already."""
    if launched() or options.devices == "1":
        return 1
    number = int(options.devices) if options.devices.isdecimal() else 0
    if not number and options.devices != "all":
        raise RequestError(f"--devices must be a whole number from 1, or all, not {options.devices!r}")
    if number != 1 and ":" in options.device:
        kind = options.device.split(":")[0]
        raise RequestError(f"--device {options.device} names a single device; give --device {kind}, or leave out --devices")
    if number:
        return number
    from aigc_cli.engine.device import count_devices

    return count_devices(options.device)


def share_work(options: Any) -> None:
    """Leave the work to the processes that --devices asks for, and exit with their code. One of them, or of those that another
    launcher started, meets the others."""
    if (processes := wanted(options)) > 1:
        raise SystemExit(launch(processes, sys.argv[1:]))
    if launched():
        from aigc_cli.engine.processes.group import join

        join()


def launch(processes: int, arguments: Sequence[str]) -> int:
    """Run `aigc` with these arguments in so many processes. Returns the exit code. They tell the user everything but their own
    death, of which they can't."""
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    logging.disable()  # whatever the launcher logs is told below, or by the processes
    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", str(PATIENCE))
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # closing the terminal doesn't stop training
    with tempfile.TemporaryDirectory() as logs, tempfile.TemporaryDirectory() as started:
        os.environ[WATCHED] = f"{os.getpid()}:{started}"
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=processes,
            run_id=f"aigc-{os.getpid()}",
            rdzv_backend="c10d",
            rdzv_endpoint="localhost:0",
            max_restarts=0,
            monitor_interval=LOOK,
            logs_specs=DefaultLogsSpecs(log_dir=logs),
            signals_to_handle="SIGINT,SIGTERM",
        )
        try:
            with at_the_second(lambda _: kill(Path(started))):  # the launcher would wait as long as after the first
                elastic_launch(config, sys.executable)("-m", "aigc_cli", *arguments)
        except SignalException as error:  # the first process has said how to resume
            return 128 + int(error.sigval)
        except ChildFailedError as error:
            return _exit_code(error, processes, arguments[0])
    return 0


def kill(started: Path) -> None:
    """Kill the processes whose numbers are the names of files in a folder: one that hangs can't answer a signal."""
    for file in started.iterdir():
        with suppress(ProcessLookupError):
            os.kill(int(file.name), signal.SIGKILL)


def end_with_launcher() -> None:
    """Interrupt this process, once, when its launcher has been killed and so can't. Linux would do so too (PR_SET_PDEATHSIG),
    but often twice, for each of the launcher's threads; and a second signal ends training without a checkpoint."""
    if WATCHED not in os.environ:
        return
    launcher, _, started = os.environ[WATCHED].partition(":")
    with suppress(OSError):
        (Path(started) / str(os.getpid())).touch()

    def watch() -> None:
        while str(os.getppid()) == launcher:
            time.sleep(LOOK)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


def _exit_code(error: ChildFailedError, processes: int, verb: str) -> int:
    """The exit code of processes of which some failed. Raises `AigcError` that names one that couldn't tell."""
    codes = {rank: failure.exitcode for rank, failure in error.failures.items()}
    silent = {LOST, *(128 + number for number in (signal.SIGINT, signal.SIGTERM) if len(codes) > 1)}
    if codes.get(0, LOST) > 0 and codes.get(0, LOST) not in silent:  # it has told why
        return codes[0]
    rank = next((rank for rank, code in codes.items() if code not in silent), 0)
    code, messages = codes.get(rank, LOST), [str(failure.message) for failure in error.failures.values()]
    if code == -signal.SIGKILL and any("imed out" in message for message in messages):  # by the launcher, in the end
        how = "did not answer"
    else:
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"failed: {error.failures[rank].message}"
    on = "; a run that was begun goes on with --resume" if verb == "train" else ""
    raise AigcError(f"process {rank} of {processes} {how}, so all were stopped{on}")
