"""Find texts inside objects and lists of JSON, so that a message can say how to take them out with jq."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import islice
from typing import TypeAlias

Inside: TypeAlias = dict[str, tuple[int, int]]
"""By the jq path within a value, such as ".body.text" or "[].context": the characters of the texts there, and their number."""

_DEEPEST = 5
_ITEMS = 3  # of each list
_NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)


def key_path(name: str) -> str:
    """The jq path of a key: ".text", or ".\\"a b\\"" if it isn't a plain name."""
    return f".{name}" if _NAME.fullmatch(name) else f".{json.dumps(name, ensure_ascii=False)}"


def taken_out(rows: str, path: str) -> str:
    """The command that writes the texts at a path of each row to a file; `rows` is the jq path of the rows."""
    return f"jq -c '{rows if rows != '.' or path.startswith('[') else ''}{path}' FILE > texts.jsonl"


def joined_parts(inside: Inside, path: str) -> str | None:
    """The jq filter that makes a text of each value at a path, where some are texts and some lists of texts and of objects with
    one, as Telegram writes messages; None for other values."""
    keys = [name.removeprefix("[]") for name in inside if name.startswith("[].")]
    if "[]" not in inside:
        return None
    return f'{path} | if type == "array" then map({keys[0] if keys else ".text"}? // .) | join("") else . end'


def longest_list(value: object, path: str = "", depth: int = 0) -> tuple[int, str]:
    """The length and jq path of the longest list of objects or texts inside an object, those with texts first; (0, "") if there
    is none. A path goes through all values of an object whose values are lists alone."""
    if not isinstance(value, dict) or depth > _DEEPEST:
        return 0, ""
    found = [(0, "")]
    cells = list(value.values())
    if len(cells) > 1 and all(_is_list_of_rows(cell) for cell in cells) and len({type(cell[0]) for cell in cells}) == 1:
        first = cells[0][0]
        if not isinstance(first, dict) or all(cell[0].keys() == first.keys() for cell in cells):
            return sum(map(len, cells)), f"{path}[][]" if path else ".[][]"
    for name, cell in value.items():
        if _is_list_of_rows(cell):
            found.append((len(cell) if texts_inside(cell) else 0, f"{path}{key_path(name)}[]"))
        else:
            found.append(longest_list(cell, path + key_path(name), depth + 1))
    return max(found, key=lambda of: (of[0], bool(of[1])))


def _is_list_of_rows(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, dict | str) for item in value)


def texts_inside(value: object) -> Inside:
    """Where texts of several words are inside an object or a list of them."""
    found: Inside = {}
    for path, text in _strings(value, "", 0):
        if " " in text.strip() or (text and not text.isascii()):
            chars, count = found.get(path, (0, 0))
            found[path] = (chars + len(text), count + 1)
    return found


def add_inside(first: Inside, second: Inside) -> Inside:
    """Both samples combined."""
    added = dict(first)
    for path, (chars, count) in second.items():
        so_far = added.get(path, (0, 0))
        added[path] = (so_far[0] + chars, so_far[1] + count)
    return added


def longest_inside(inside: Inside) -> tuple[str, float]:
    """The path with the longest texts, and their mean length; ("", 0) if there are none."""
    return max(((path, chars / count) for path, (chars, count) in inside.items()), key=lambda of: of[1], default=("", 0.0))


def _strings(value: object, path: str, depth: int) -> Iterator[tuple[str, str]]:
    if depth > _DEEPEST:
        return
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, dict):
        for name, cell in value.items():
            yield from _strings(cell, path + key_path(name), depth + 1)
    elif isinstance(value, list):
        for item in islice(value, _ITEMS):
            yield from _strings(item, path + "[]", depth + 1)
