"""Runs the quick tests with the oldest and with the newest versions of the packages that pyproject.toml allows, and asks pip-audit
what vulnerabilities of these versions are known.

python tests/benchmarks/dependencies.py [oldest|newest] [-- PYTEST ARGUMENTS]   # needs a package index, and 2 GB for each

Each set is installed into a new environment. The oldest is each package at its lower bound, with whatever these need of others.
Vulnerabilities are looked up in PyPI's database; where it can't be reached, that is said, and nothing is known. One in the newest
versions fails; those of the oldest are only told, as nobody has to use them.
"""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import tempfile
import time
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).parents[2]
#: Tests that are quick and touch every package.
QUICK = ["-m", "not slow", "-p", "no:xdist", "-o", "addopts=", "-q", "-x", "tests/test_sources.py", "tests/test_pictures.py", "tests/test_sounds.py", "tests/test_tokenizers.py", "tests/test_regex_constraint.py", "tests/test_report.py", "tests/test_hostile_models.py", "tests/test_hostile_data.py", "tests/test_engine.py", "tests/test_cli.py", "tests/test_music.py", "tests/test_metrics_ngram.py"]  # fmt: skip
CPU = "download.pytorch.org"  # has builds without CUDA, which are smaller


def indices() -> list[str]:
    """Where packages come from besides the configured index, if it can be reached."""
    try:
        socket.create_connection((CPU, 443), 5).close()
    except OSError:
        return []
    return ["--extra-index-url", f"https://{CPU}/whl/cpu"]


def bounds() -> dict[str, str]:
    """The lower bound of every package that users or the tests need; those that only check the code are left out."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["spacy"], *extras["music"], *extras["dev"]]
    found = dict(match.groups() for line in wanted if (match := re.match(r"([\w-]+)>=([\w.]+)", line)))
    return {name: version for name, version in found.items() if name not in ("ruff", "mypy", "import-linter")}


def vulnerabilities(python: Path) -> tuple[str, int | None]:
    """What pip-audit says of an environment's packages, and how many vulnerabilities that are, if it could be looked up."""
    audit = Path(tempfile.mkdtemp(prefix="aigc-audit-"))
    venv.create(audit, with_pip=True)
    install = subprocess.run([audit / "bin" / "python", "-m", "pip", "install", "-q", "pip-audit"], check=False)
    freeze = subprocess.run([python, "-m", "pip", "freeze", "--exclude-editable"], capture_output=True, text=True, check=True)
    pinned = [line.split("+")[0] for line in freeze.stdout.splitlines() if "==" in line]  # torch 2.13.0+cpu is not on PyPI
    (audit / "pinned.txt").write_text("\n".join(pinned))
    if install.returncode != 0:
        return "pip-audit can't be installed", None
    command = [audit / "bin" / "pip-audit", "-r", audit / "pinned.txt", "--no-deps", "--disable-pip", "-f", "json", "--progress-spinner=off"]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        return f"vulnerabilities can't be looked up: {' '.join(done.stderr.split())[-200:]}", None
    skipped = [of["name"] for of in packages if "skip_reason" in of]
    found = [f"{of['name']} {of['version']}: {one['id']}" for of in packages for one in of.get("vulns", ())]
    if skipped:
        return f"{len(skipped)} of {len(packages)} packages can't be looked up; {', '.join(found)}", None
    return f"{len(found)} known vulnerabilities of {len(packages)} packages {', '.join(found)}", len(found)


def main() -> None:
    arguments = sys.argv[1:]
    tests = arguments[arguments.index("--") + 1 :] if "--" in arguments else QUICK
    sets = [name for name in arguments if name in ("oldest", "newest")] or ["oldest", "newest"]
    failed = False
    for name in sets:
        began = time.monotonic()
        folder = Path(tempfile.mkdtemp(prefix=f"aigc-{name}-"))
        venv.create(folder, with_pip=True)
        python = folder / "bin" / "python"
        pins = [f"{package}=={version}" for package, version in bounds().items()]
        wanted = pins if name == "oldest" else ["--upgrade", "--upgrade-strategy", "eager", *bounds()]
        install = [python, "-m", "pip", "install", "-q", *indices(), *wanted, "-e", f"{ROOT}[spacy,music]"]
        installed = subprocess.run(install, check=False).returncode == 0
        code = 1 if not installed else subprocess.run([python, "-m", "pytest", *tests], cwd=ROOT, check=False).returncode
        versions = subprocess.run([python, "-m", "pip", "freeze"], capture_output=True, text=True, check=True).stdout
        shown = ", ".join(line for line in versions.split() if line.partition("==")[0].lower() in bounds())
        told, known = vulnerabilities(python) if installed else ("can't be installed", None)
        print(
            f"| {name} | {'passed' if code == 0 else 'FAILED'} | {time.monotonic() - began:.0f} s | {told} | {shown} |",
            flush=True,
        )
        failed = failed or code != 0 or bool(name == "newest" and known)
    sys.exit(failed)


if __name__ == "__main__":
    main()
