from __future__ import annotations

import atexit
import dataclasses
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import pytest

if "PYTEST_XDIST_WORKER" in os.environ:  # before torch is imported: as many tests run as there are cores
    os.environ.setdefault("OMP_NUM_THREADS", "1")

from aigc_cli.engine.settings import TrainOptions

Options = TypeVar("Options", bound=TrainOptions)

TOY = Path(__file__).parent / "toy"
FORK_SERVER = str(Path(__file__).parent / "forkserver.py")


@dataclass(frozen=True)
class Shell:
    """The installed `aigc`, run as a user runs it, in a directory of its own with a cache of its own. Beside the installed
    backends it finds the toy one, through the entry point that a package of its own would bring."""

    cwd: Path
    env: Mapping[str, str]
    command: Sequence[str]  # `aigc`, by a fork of a process that has imported it

    def __call__(self, *arguments: object, input: str | None = None, **environ: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self.command, *map(str, arguments)],
            cwd=self.cwd,
            env={**self.env, **environ},
            input=input,
            stdin=subprocess.DEVNULL if input is None else None,
            capture_output=True,
            text=True,
            errors="surrogateescape",
            timeout=300,
        )

    def ok(self, *arguments: object, input: str | None = None, **environ: str) -> str:
        done = self(*arguments, input=input, **environ)
        assert done.returncode == 0, f"aigc {' '.join(map(str, arguments))}: {done.returncode}\n{done.stderr}"
        return done.stdout

    def start(self, *arguments: object, own: bool = False, **environ: str) -> subprocess.Popen[str]:
        """The command while it runs; with `own` as a process, whose children can be found, instead of a fork."""
        return subprocess.Popen(
            [*(AIGC if own else self.command), *map(str, arguments)],
            cwd=self.cwd,
            env={**self.env, **environ},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


AIGC = [sys.executable, "-m", "aigc_cli.app"]


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """A test is not named after bytes: those of a packed file may hold the time, and the test processes would each collect
    tests of other names."""
    return argname if isinstance(val, bytes) else None


@pytest.fixture(scope="session")
def toy_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder on the path that holds the toy backend as an installed distribution."""
    site = tmp_path_factory.mktemp("site")
    install(site, "aigc_toy", "toy", (TOY / "aigc_toy.py").read_text())
    install(site, "aigc_numbers", "numbers", (TOY / "aigc_numbers.py").read_text(), "aigc.kinds", "NUMBERS")
    return site


@pytest.fixture(scope="session")
def halves_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder on the path that holds a toy backend that draws pictures of two grey halves."""
    site = tmp_path_factory.mktemp("site")
    install(site, "aigc_pictures", "halves", (TOY / "aigc_pictures.py").read_text())
    return site


def install(site: Path, module: str, name: str, source: str, group: str = "aigc.backends", attribute: str = "BACKEND") -> None:
    """Put a backend, or a kind of data, into a folder as a package that is installed there, with an entry point of its own."""
    (site / f"{module}.py").write_text(source)
    info = site / f"{module}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module.replace('_', '-')}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{group}]\n{name} = {module}:{attribute}\n")


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def shell(tmp_path: Path, toy_path: Path, shared_cache: Path) -> Shell:
    return make_shell(tmp_path, toy_path, shared_cache)


@pytest.fixture(scope="module")
def module_shell(tmp_path_factory: pytest.TempPathFactory, toy_path: Path, shared_cache: Path) -> Shell:
    """One directory for a whole module's tests, so that they can share a trained run."""
    return make_shell(tmp_path_factory.mktemp("shell"), toy_path, shared_cache)


def make_shell(cwd: Path, toy_path: Path, cache: Path) -> Shell:
    own = ("NO_COLOR", "COLUMNS", "LINES")  # pytest sets some of them
    env = {name: value for name, value in os.environ.items() if not name.startswith("AIGC_") and name not in own}
    env |= {"PYTHONPATH": str(toy_path), "AIGC_CACHE_DIR": str(cache), "HF_HUB_OFFLINE": "1"}
    env |= {"OMP_NUM_THREADS": "1", "AIGC_THREADS": "1"}  # networks are small, and as many tests run as there are cores
    return Shell(cwd, env, fork_server(env))


_FORK_SERVERS: dict[str, tuple[subprocess.Popen[bytes], list[str]]] = {}


def fork_server(env: Mapping[str, str]) -> list[str]:
    """The command that has `aigc` run by a fork of one process, which is started for each set of installed backends."""
    # A process that has imported as much cannot be forked safely elsewhere, nor beside a driver of CUDA.
    if sys.platform != "linux" or Path("/dev/nvidiactl").exists():
        return AIGC
    site = env["PYTHONPATH"]
    if site not in _FORK_SERVERS:
        socket = Path(tempfile.mkdtemp()) / "aigc"
        server = subprocess.Popen([sys.executable, FORK_SERVER, "serve", socket], env=env, stdin=subprocess.DEVNULL)
        _FORK_SERVERS[site] = server, [sys.executable, "-I", "-S", FORK_SERVER, "ask", str(socket)]
        atexit.register(server.kill)
        deadline = time.monotonic() + 240
        while not socket.exists():
            assert server.poll() is None and time.monotonic() < deadline, "the server that forks does not start"
            time.sleep(0.02)
    return _FORK_SERVERS[site][1]


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """For networks so small that they are slower on several threads."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever asks for a connection, or for the address of a host, fails the test."""

    def refuse(*arguments: object, **options: object) -> NoReturn:
        pytest.fail(f"there was no need for a connection: {arguments[-1:]}")

    connect = socket.socket.connect

    def local(self: socket.socket, address: Any) -> None:
        connect(self, address) if self.family == socket.AF_UNIX else refuse(address)

    monkeypatch.setattr(socket.socket, "connect", local)
    monkeypatch.setattr(socket.socket, "connect_ex", refuse)
    for name in ("getaddrinfo", "gethostbyname", "create_connection"):
        monkeypatch.setattr(socket, name, refuse)


@pytest.fixture
def toy(toy_path: Path, shared_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The toy backend, installed for this process."""
    from aigc_cli.backends.registry import backends
    from aigc_cli.data.kinds import kinds

    monkeypatch.syspath_prepend(str(toy_path))
    monkeypatch.setenv("AIGC_CACHE_DIR", str(shared_cache))
    monkeypatch.setenv("AIGC_THREADS", "1")
    backends.cache_clear()
    kinds.cache_clear()
    yield
    backends.cache_clear()
    kinds.cache_clear()
    for name in ("aigc_toy", "aigc_numbers"):
        sys.modules.pop(name, None)


def settled(options: Options) -> Options:
    """Options as a backend's `plan` gets them, with the engine's decisions made."""
    return dataclasses.replace(options, data=options.data or "x", threads=options.threads or 1, compile=bool(options.compile))


@pytest.fixture
def poems(tmp_path: Path) -> Path:
    """A small table of texts, every one different."""
    rows = [f"{i}\tthe {a} {b} went over the {c} hill number {i}" for i, (a, b, c) in enumerate(_triples())]
    path = tmp_path / "poems.tsv"
    path.write_text("\n".join(["id\ttext", *rows]) + "\n")
    return path


def _triples() -> list[tuple[str, str, str]]:
    words = (
        ("red", "old", "quiet"),
        ("fox", "hen", "king", "queen"),
        ("far", "green", "last", "steep", "cold"),
    )
    return [(a, b, c) for a in words[0] for b in words[1] for c in words[2]] * 3
