"""`aigc` in a fork of a process that has imported it already, so that a command of a test takes a tenth of a second to begin.

    python forkserver.py serve SOCKET                what forks: it answers on SOCKET until its parent is gone
    python -I -S forkserver.py ask SOCKET ARGS…      aigc ARGS…, with the streams, directory and environment of this process

The speed of the machine is not measured but given. What could behave otherwise in a fork runs in a process of its own: with
another environment than the server's, but for what is read when a command runs. Signals that can be caught are passed on to the
fork, and it dies with the process that asked for it.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sys
import threading

#: What is read when Python or a library starts, and must be as it is in the server. The rest is read when a command runs.
FIXED = (
    "PYTHON",
    "OMP_",
    "MKL_",
    "LANG",
    "LC_",
    "HF_",
    "TERM",
    "COLORTERM",
    "COLUMNS",
    "LINES",
    "NO_COLOR",
    "FORCE_COLOR",
    "TMPDIR",
)

#: What the commands take the machine's speed to be, in floating-point operations per second.
SPEED = 5e10


def serve(path: str) -> None:
    environ = dict(os.environ)  # imports may change it
    import importlib
    import pkgutil
    from pathlib import Path

    import aigc_cli

    for module in pkgutil.walk_packages(aigc_cli.__path__, "aigc_cli."):
        importlib.import_module(module.name)
    # Slow imports that are otherwise done lazily.
    for name in ("torch._dynamo", "llguidance", "pyarrow.parquet", "sacrebleu", "jinja2"):
        importlib.import_module(name)
    app = importlib.import_module("aigc_cli.app")
    # The plan depends on the measured speed, which other tests beside change: two runs of one command would differ.
    planning = "aigc_cli.engine.planning"
    importlib.import_module(f"{planning}.plan").measure_flops = lambda *_: SPEED  # type: ignore[attr-defined]
    # Steps are timed, as they must be, but not for long, nor again where the machine is busy.
    importlib.import_module(f"{planning}.dry_run").SECONDS = 1.0  # type: ignore[attr-defined]
    importlib.import_module(f"{planning}.budget").MEASURED = 1  # type: ignore[attr-defined]
    parent = os.getppid()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # forks are not waited for: they report their exit status themselves
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path + ".new")
    listener.listen(8)
    listener.settimeout(2)
    Path(path + ".env").write_text(json.dumps(environ))
    Path(path + ".new").rename(path)
    while os.getppid() == parent:
        try:
            client, _ = listener.accept()
        except TimeoutError:
            continue
        if os.fork() == 0:
            listener.close()
            client.setblocking(True)
            command(app.run, client)
        client.close()


def command(run, client: socket.socket) -> None:
    """Run one command and leave."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    size, streams, _, _ = socket.recv_fds(client, 8, 3)
    request = b""
    while len(request) < int.from_bytes(size, "big"):
        request += client.recv(1 << 16)
    arguments, cwd, environ = json.loads(request)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(environ)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    # Those of the server know whether its own can be rewound.
    sys.stdin, sys.stdout, sys.stderr = (
        open(number, mode, closefd=False, buffering=1 if number == 2 else -1)  # noqa: SIM115
        for number, mode in enumerate(("r", "w", "w"))
    )
    sys.argv = ["aigc", *arguments]
    threading.Thread(target=pass_on, args=(client,), daemon=True).start()
    code = run()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    client.sendall(bytes([code]))
    os._exit(0)


def pass_on(client: socket.socket) -> None:
    """Send this process the signals that the other one gets, and kill it if that is gone."""
    while number := client.recv(1):
        os.kill(os.getpid(), number[0])
    os.kill(os.getpid(), signal.SIGKILL)


def ask(path: str, arguments: list[str]) -> int:
    with open(path + ".env") as file:  # noqa: PTH123 (pathlib would be most of the time that this takes)
        theirs = json.load(file)
    if any(name.startswith(FIXED) and theirs.get(name) != os.environ.get(name) for name in theirs.keys() | os.environ.keys()):
        os.execv(sys.executable, [sys.executable, "-m", "aigc_cli.app", *arguments])
    server = socket.socket(socket.AF_UNIX)
    server.connect(path)
    request = json.dumps([arguments, os.getcwd(), dict(os.environ)]).encode()  # noqa: PTH109
    socket.send_fds(server, [len(request).to_bytes(8, "big")], [0, 1, 2])
    server.sendall(request)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda number, _: server.sendall(bytes([number])))
    for stream in range(3):  # the fork's alone now: who reads them sees their end when it ends
        os.close(stream)
    status = server.recv(1)
    return status[0] if status else 128 + signal.SIGKILL


if __name__ == "__main__":
    role, socket_path, *own = sys.argv[1:]
    if role == "serve":
        serve(socket_path)
    else:
        sys.exit(ask(socket_path, own))
