"""Text from data, made safe to print."""

from __future__ import annotations

import unicodedata
from bisect import bisect_right
from itertools import accumulate

#: Bidirectional overrides and isolates, and line ends.
_UNSAFE = {*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x2028, 0x2029}


def printable(text: str, keep: str = "\n") -> str:
    """`text` with control characters (except those in `keep`) and bidirectional overrides escaped, so that data can't move the
    terminal's cursor, begin a line, or disguise itself."""
    if text.isprintable():  # which excludes all of these
        return text
    return "".join(_escape(c) if _unsafe(c) and c not in keep else c for c in text)


def one_line(text: str) -> str:
    """`text` on one line: newlines and backslashes as `\\n`, `\\r` and `\\\\`; this is reversible."""
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")


def cut(text: str, width: int) -> str:
    """The beginning of a line, if it takes more columns of a terminal than `width`; ideographs take two."""
    columns = list(accumulate(map(_columns, text), initial=0))
    return text if columns[-1] <= width else text[: bisect_right(columns, width - 1) - 1] + "…"


def _columns(character: str) -> int:
    return 0 if unicodedata.combining(character) else 2 if unicodedata.east_asian_width(character) in "WF" else 1


def _unsafe(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cs") or ord(character) in _UNSAFE


def _escape(character: str) -> str:
    if "\udc80" <= character <= "\udcff":  # of a file's name: a byte that isn't UTF-8
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")


def number(value: float) -> str:
    """12,733, 6.814, 0.003142, 2e-09."""
    return f"{value:,.0f}" if 1000 <= abs(value) < 1e9 else f"{value:.4g}"


def duration(seconds: float) -> str:
    """42 s, 3:05, 1:02:03."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def span(seconds: float) -> str:
    """42 s, 3 min, 5 h, 12 d: in the largest unit of which there are at least two."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"


def sparkline(values: list[float], width: int) -> str:
    """The curve of `values` in at most `width` block characters."""
    bars = "▁▂▃▄▅▆▇█"
    if len(values) > width:
        values = [values[i * len(values) // width] for i in range(width)]
    low, high = min(values), max(values)
    return "".join(bars[int((v - low) / (high - low) * 7.999) if high > low else 0] for v in values)
