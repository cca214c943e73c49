"""`aigc doctor`: each problem is found, and only if present; the system's answers are read correctly; the command itself."""

from __future__ import annotations

import dataclasses
import fcntl
import json
from pathlib import Path
from typing import Any

import pytest
from conftest import Shell
from terminals import in_terminal

from aigc_cli.commands.checks import Facts, Terminal, problems
from aigc_cli.commands.doctor import readable, rows
from aigc_cli.engine.runs.run import create_run
from aigc_cli.files import bytes_of
from aigc_cli.machine import Device, Folder, Memory, Torch, cpu_model, folder, graphics_cards, memory, packages, usable_cores

GB = 10**9
CPU = Device("cpu", "cpu (x86_64, 8 threads)", None, "fp32", 300.0)
CARD = Device("cuda:0", "NVIDIA H100", 80 * GB, "bf16", 500_000.0)
WELL = Facts(
    python="3.12.1",
    platform="Linux",
    packages={"torch": "2.12.0", "numpy": "2.4.0"},
    extras={"spacy": None},
    cpu="AMD EPYC",
    cores=8,
    environ={},
    graphics_cards=[],
    torch=Torch(threads=8),
    devices=[CPU],
    memory=Memory(32 * GB, 20 * GB, limited=False),
    runs=Folder("runs", True, 5 * GB, 100 * GB),
    n_runs=3,
    killed={},
    cache=Folder("/home/me/.cache/aigc", True, GB, 100 * GB),
    encodings={"standard_output": "utf-8", "file_names": "utf-8"},
    terminal=Terminal(True, True, 80, 24, "24-bit", True),
)


def test_nothing_is_wrong_with_a_machine_that_is_well() -> None:
    assert problems(WELL) == []
    with_card = dataclasses.replace(
        WELL, graphics_cards=["NVIDIA H100"], devices=[CPU, CARD], torch=Torch(cuda="12.8", threads=8, compiles=True)
    )
    assert problems(with_card) == []
    on_a_mac = dataclasses.replace(WELL, devices=[CPU, Device("mps", "mps (arm64, 8 threads)", 12 * GB, "fp32", 3000.0)])
    assert problems(on_a_mac) == []
    assert problems(dataclasses.replace(WELL, memory=Memory(None, None, limited=False), environ={"OMP_NUM_THREADS": "8"})) == []


def changed(path: str, **changes: Any) -> Any:
    return dataclasses.replace(getattr(WELL, path), **changes)


@pytest.mark.parametrize(
    ("changes", "name", "fatal", "said"),
    [
        ({"packages": {"torch": None, "numpy": "2.4.0", "rich": None}}, "missing_packages", True, "torch, rich; pip install torch rich"),
        ({"torch": Torch("libcudart.so: no such file"), "devices": []}, "broken_torch", True, "(libcudart.so: no such file)"),
        ({"torch": Torch(threads=8, compiles=False)}, "no_compiler", False, "g++"),
        ({"graphics_cards": ["NVIDIA H100"]}, "torch_without_gpu", False, "found NVIDIA H100, but this PyTorch (2.12.0) is built for CPUs only"),
        ({"graphics_cards": ["NVIDIA H100"], "torch": Torch(cuda="12.8", threads=8)}, "gpu_not_seen", False, "too old for this PyTorch (12.8)"),
        ({"graphics_cards": ["NVIDIA H100"], "torch": Torch(cuda="12.8", threads=8), "environ": {"CUDA_VISIBLE_DEVICES": ""}}, "gpu_not_seen", False, "CUDA_VISIBLE_DEVICES= may hide it; unset it"),
        ({"torch": Torch(cuda="12.8", threads=8)}, "gpu_build_without_gpu", False, "whl/cpu"),
        ({"torch": Torch(rocm="6.4", threads=8)}, "gpu_build_without_gpu", False, "(6.4)"),
        ({"devices": [CPU, dataclasses.replace(CARD, gflops=None, error="no kernel image")]}, "broken_device", True, "cuda:0 (NVIDIA H100) does not compute: no kernel image"),
        ({"torch": Torch(threads=9)}, "too_many_threads", False, "9 threads on 8 cores"),
        ({"torch": Torch(threads=7)}, "few_threads", False, "7 of 8 cores"),
        ({"environ": {"OMP_NUM_THREADS": "2"}}, "omp_num_threads", False, "to 2 of 8 cores"),
        ({"environ": {"OMP_NUM_THREADS": "16,4"}}, "omp_num_threads", False, "OMP_NUM_THREADS=16 is more than 8 cores"),
        ({"environ": {"OMP_THREAD_LIMIT": "4"}}, "omp_thread_limit", False, "to 4 of 8 cores"),
        ({"memory": Memory(2 * GB, 19 * GB // 10, limited=False)}, "little_memory", False, "only 1.9 GB of memory is free"),
        ({"memory": Memory(GB, GB // 4, limited=True)}, "little_memory", True, "is left to this container"),
        ({"runs": changed("runs", free=GB)}, "runs_disk_full", False, "only 1.0 GB of disk space is free for the runs folder runs;"),
        ({"cache": changed("cache", free=GB // 20)}, "cache_disk_full", False, "the cache folder /home/me/.cache/aigc; free disk space, or use another folder with AIGC_CACHE_DIR"),
        ({"runs": changed("runs", writable=False)}, "runs_not_writable", True, "--runs-dir"),
        ({"cache": changed("cache", writable=False)}, "cache_not_writable", False, "prepared anew by every command; use another folder with AIGC_CACHE_DIR"),
        ({"encodings": {"standard_output": "iso8859-1", "file_names": "UTF-8"}}, "standard_output_not_utf8", False, "is iso8859-1, not UTF-8; set PYTHONUTF8=1"),
        ({"killed": {"runs/vae/a": "aigc train vae --run a --resume"}}, "killed_run", False, "resume it with: aigc train vae --run a --resume"),
    ],
)  # fmt: skip
def test_each_problem_is_found_and_no_other(changes: dict[str, Any], name: str, fatal: bool, said: str) -> None:
    (problem,) = problems(dataclasses.replace(WELL, **changes))
    assert (problem.name, problem.fatal) == (name, fatal)
    assert said in problem.text and "\n" not in problem.text


def test_the_worst_problem_comes_first_and_all_are_listed() -> None:
    ill = dataclasses.replace(WELL, torch=Torch(threads=4), runs=changed("runs", writable=False), devices=[CPU, CARD])
    assert [problem.name for problem in problems(ill)] == ["runs_not_writable", "few_threads"]
    lines = readable(ill, problems(ill))
    assert "cuda:0            NVIDIA H100, 80 GB: 500,000 GFLOP/s in bf16" in lines
    assert "memory.available  20 GB of 32 GB" in lines
    assert "runs              runs: 3 runs, 5.0 GB, 100 GB free on disk" in lines
    assert "graphics          no graphics card found" in lines
    assert "extra.spacy       not installed (optional)" in lines
    assert lines[-2:] == [
        "✗ the runs folder runs cannot be written to; use another folder with --runs-dir\n  or AIGC_RUNS",
        "! training uses only 4 of 8 cores; unset AIGC_THREADS",
    ]
    assert readable(WELL, [])[-1] == "no problems found"
    names = [name for name, _, _ in rows(ill)]
    assert len(names) == len(set(names))


# What the system tells


def written(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


MEMINFO = "MemTotal:        8000000 kB\nMemFree:  100 kB\nMemAvailable:    6000000 kB\n"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, (8_192_000_000, 6_144_000_000, False)),
        # Version 2: what is cached can be dropped.
        (
            {
                "proc/self/cgroup": "0::/box\n",
                "sys/fs/cgroup/box/memory.max": "2000000000\n",
                "sys/fs/cgroup/box/memory.current": "900000000\n",
                "sys/fs/cgroup/box/memory.stat": "anon 5\ninactive_file 400000000\n",
            },
            (2_000_000_000, 1_500_000_000, True),
        ),
        # A group without a limit, in one that has one.
        (
            {
                "proc/self/cgroup": "0::/outer/inner\n",
                "sys/fs/cgroup/outer/inner/memory.max": "max\n",
                "sys/fs/cgroup/outer/memory.max": "1000000000\n",
                "sys/fs/cgroup/outer/memory.current": "1200000000\n",
            },
            (1_000_000_000, 0, True),
        ),
        # Version 1, as a container sees it: its own group is at the top.
        (
            {
                "proc/self/cgroup": "5:cpu,cpuacct:/x\n4:memory:/docker/0123\n",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": "3000000000\n",
                "sys/fs/cgroup/memory/memory.usage_in_bytes": "1000000000\n",
                "sys/fs/cgroup/memory/memory.stat": "inactive_file 7\ntotal_inactive_file 500000000\n",
            },
            (3_000_000_000, 2_500_000_000, True),
        ),
        # Version 1 without a limit, and with a limit above the machine's memory.
        (
            {
                "proc/self/cgroup": "4:memory:/a\n",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
                "sys/fs/cgroup/memory/a/memory.limit_in_bytes": "90000000000\n",
                "sys/fs/cgroup/memory/a/memory.usage_in_bytes": "5\n",
            },
            (8_192_000_000, 6_144_000_000, False),
        ),
    ],
    ids=["no group", "version 2", "nested", "version 1", "no limit"],
)
def test_memory_is_what_the_control_group_leaves(
    tmp_path: Path, files: dict[str, str], expected: tuple[int, int, bool]
) -> None:
    found = memory(written(tmp_path, {"proc/meminfo": MEMINFO, **files}))
    assert (found.total, found.available, found.limited) == expected


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({}, 8),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "max 100000\n"}, 8),
        ({"proc/self/cgroup": "0::/outer/inner\n", "sys/fs/cgroup/outer/cpu.max": "250000 100000\n"}, 2),
        ({"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/cpu.max": "30000 100000\n"}, 1),
        (
            {
                "proc/self/cgroup": "5:cpu,cpuacct:/x\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "300000\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
                "sys/fs/cgroup/cpu/x/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu/x/cpu.cfs_period_us": "100000\n",
            },
            3,
        ),
    ],
    ids=["no group", "no quota", "nested", "less than one", "version 1"],
)
def test_cores_are_those_of_the_control_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], cores: int
) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)))
    assert usable_cores(written(tmp_path, files)) == cores


def test_the_processor_and_graphics_cards_by_name(tmp_path: Path) -> None:
    assert graphics_cards(tmp_path) == []
    written(
        tmp_path,
        {
            "proc/cpuinfo": "processor\t: 0\nvendor_id\t: AuthenticAMD\nmodel name\t: AMD EPYC 7B13\n\nprocessor\t: 1\n",
            "proc/driver/nvidia/gpus/0000:01/information": "Model: \t\t NVIDIA L4\nIRQ: 3\n",
            "dev/kfd": "",
        },
    )
    assert cpu_model(tmp_path) == "AMD EPYC 7B13"
    assert graphics_cards(tmp_path) == ["NVIDIA L4"]
    (tmp_path / "proc/driver/nvidia/gpus/0000:01/information").unlink()
    assert graphics_cards(tmp_path) == ["AMD GPU"]


def test_a_folder_may_not_be_there_yet(tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/one").write_bytes(bytes(1000))
    (tmp_path / "a/b/two").write_bytes(bytes(234))
    (tmp_path / "a/link").symlink_to(tmp_path / "a/one")
    here, missing, below_a_file = folder(tmp_path / "a"), folder(tmp_path / "x/y"), folder(tmp_path / "a/one/runs")
    assert here.writable and here.free > 0 and 1234 <= here.bytes < 1234 + 500  # the link is as long as its target's name
    assert missing.writable and missing.bytes == 0
    assert not below_a_file.writable and not (tmp_path / "x").exists()


def test_packages_are_those_of_the_package_itself() -> None:
    needed, optional = packages()
    assert {"torch", "numpy", "rich"} <= set(needed) and None not in needed.values()
    assert set(optional) == {"spacy", "jieba", "pillow-heif", "symusic", "miditok"}


def test_sizes() -> None:
    sizes = [0, 999, 1000, 9949, 9950, 999_499, 999_500, 1_500_000_000, 10**15, 10**19]
    assert list(map(bytes_of, sizes)) == [
        "0 B", "999 B", "1.0 kB", "9.9 kB", "10 kB", "999 kB", "1.0 MB", "1.5 GB", "1.0 PB", "10000 PB",
    ]  # fmt: skip


# The command


def test_the_command(shell: Shell) -> None:
    killed = create_run(shell.cwd / "runs", "toy", "killed", {})
    create_run(shell.cwd / "runs", "toy", "done", {}).update(status="finished")
    running = create_run(shell.cwd / "runs", "toy", "running", {})
    with (running.path / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        report = json.loads(shell.ok("doctor", "--json", "--threads", "1"))
    assert report["version"] == 1
    assert report["versions"]["aigc"] and report["versions"]["torch"] and report["cpu"]["cores"] >= 1
    assert (report["cpu"]["threads"], report["torch"]["compiles"]) == (1, None)
    cpu = report["devices"][0]
    assert (cpu["device"], cpu["precision"], cpu["error"]) == ("cpu", "fp32", "") and cpu["gflops"] > 0.1
    assert report["memory"]["total"] >= report["memory"]["available"] > 0
    assert (report["runs"]["path"], report["runs"]["n"]) == ("runs", 3) and report["runs"]["bytes"] > 0
    assert report["cache"]["path"] == shell.env["AIGC_CACHE_DIR"] and report["cache"]["free"] > 0
    assert not report["terminal"]["stdout"]
    said = [problem["text"] for problem in report["problems"] if problem["name"] == "killed_run"]
    assert said == ["runs/toy/killed was killed during training; resume it with: aigc train toy --run killed --resume"]
    assert killed.record["status"] == "running" and not (killed.path / ".lock").exists()  # nothing was touched


def test_a_pipe_gets_tabs_and_what_keeps_it_from_working_exits_1(shell: Shell) -> None:
    (shell.cwd / "a-file").write_text("")
    done = shell("doctor", "--runs-dir", "a-file/runs")
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)
    found = dict(line.split("\t") for line in done.stdout.splitlines())
    assert found["fatal"] == (
        "the runs folder a-file/runs cannot be written to; use another folder with --runs-dir or AIGC_RUNS"
    )
    assert float(found["cpu.gflops"]) > 0.1 and found["terminal.stdout"] == "false" and int(found["memory.total"]) > 0


def test_a_terminal_gets_a_list_whatever_its_encoding(shell: Shell) -> None:
    seen = in_terminal(shell, "doctor", "-q", size=(90, 40), PYTHONIOENCODING="ascii")
    assert "terminal           90 ? 40, colours: 24-bit, no unicode\n" in seen
    assert " GFLOP/s in fp32\n" in seen
    assert "! the encoding of standard output is ascii, not UTF-8; set PYTHONUTF8=1 or LANG=C.UTF-8\n" in seen


def test_a_broken_torch_is_a_finding(shell: Shell) -> None:
    (shell.cwd / "broken").mkdir()
    (shell.cwd / "broken/torch.py").write_text("raise OSError('libtorch.so: no such file')")
    done = shell("doctor", "--json", "-q", PYTHONPATH=f"{shell.cwd / 'broken'}:{shell.env['PYTHONPATH']}")
    assert (done.returncode, done.stderr) == (1, "")
    report = json.loads(done.stdout)
    assert report["devices"] == [] and report["problems"][0] == {
        "name": "broken_torch",
        "text": "PyTorch cannot be imported (libtorch.so: no such file); pip install --force-reinstall torch",
        "fatal": True,
    }
