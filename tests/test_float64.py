"""Not every device has float64 (Metal lacks it): tensors go to the CPU before they become float64."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import aigc_cli

PACKAGE = Path(aigc_cli.__file__).parent


def is_float64(node: ast.AST) -> bool:
    """Whether it is written torch.float64 or torch.double."""
    return ast.unparse(node) in ("torch.float64", "torch.double")


def float64_on_a_device(source: str) -> Iterator[int]:
    """The lines where a tensor becomes float64 that was not taken to the CPU just before, or is made as float64 elsewhere."""
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
            continue
        receiver = node.func.value
        wide = any(map(is_float64, [*node.args, *(keyword.value for keyword in node.keywords)]))
        if ast.unparse(receiver) == "torch":
            if wide and any(keyword.arg == "device" for keyword in node.keywords):
                yield node.lineno
        elif (node.func.attr == "double" or wide) and not ast.unparse(receiver).endswith(".cpu()"):
            yield node.lineno


def test_float64_is_computed_on_the_cpu() -> None:
    found = {path: list(float64_on_a_device(path.read_text())) for path in PACKAGE.rglob("*.py")}
    assert len(found) > 100 and not {path: lines for path, lines in found.items() if lines}


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("x.double().cpu()", True),
        ("float(torch.cat(parts).double().mean())", True),
        ("x.to(torch.float64)", True),
        ("torch.zeros(3, dtype=torch.float64, device=device)", True),
        ("x.cpu().double().numpy()", False),
        ("x.cpu().to(torch.float64)", False),
        ("torch.arange(3, dtype=torch.float64)", False),
        ("x.astype(np.float64)", False),
    ],
)
def test_what_the_check_finds(source: str, found: bool) -> None:
    assert bool(list(float64_on_a_device(source))) == found
