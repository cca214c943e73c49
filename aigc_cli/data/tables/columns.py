"""Find the column of a table that holds the texts, from a sample of its values."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from aigc_cli.data.tables.nested import joined_parts, key_path, longest_inside, taken_out
from aigc_cli.data.tables.samples import ColumnNames, Columns, ColumnSample
from aigc_cli.errors import RequestError
from aigc_cli.options import did_you_mean

_DOMINANT = 4.0
_EXAMPLE_CHARS = 30
_MANY, _LONG = 50, 200  # columns in a message, and characters of the name of one
_ASKS = ("instruction", "prompt", "question", "input", "source")
_ANSWERS = ("output", "response", "completion", "answer", "target")


class Choice(NamedTuple):
    """The columns to read, why, and which others there are; and a note about them, which may be empty."""

    columns: ColumnNames
    note: str = ""
    why: str = ""
    others: ColumnNames = ()


def choose(columns: Columns, wanted: ColumnNames, where: object) -> Choice:
    """The requested columns; otherwise `text`, the only one that is likely to hold texts, or the one with far longer texts.

    Raises RequestError if a requested column is missing, or if the choice is ambiguous.
    """
    if wanted:
        return _wanted(columns, wanted, where)
    of_text = {name: column for name, column in columns.items() if column.holds_text}
    if (named := _named_text(of_text, where)) is not None:
        return _chosen(named, columns, "")
    asks = [name for name in of_text if name.casefold() in _ASKS]
    answers = [name for name in of_text if name.casefold() in _ANSWERS]
    if asks and answers:
        raise RequestError(
            f"{where} holds pairs: --source {asks[0]} --target {answers[0]} learns to answer, "
            f"--column {answers[0]} only the answers"
        )
    likely = [name for name, column in of_text.items() if not column.unlikely]
    lengths = sorted(((of_text[name].chars / of_text[name].texts, name) for name in likely), reverse=True)
    _refuse_longer_inside(columns, lengths[0][0] if likely else 0, where)
    if len(likely) == 1:
        return _chosen(likely[0], columns, "the only one with texts")
    if likely:
        if lengths[0][0] >= _DOMINANT * lengths[1][0]:
            return _chosen(lengths[0][1], columns, "its texts are the longest")
    elif chats := [name for name, column in columns.items() if column.other == "chat"]:
        raise RequestError(f"{where}: {a_chat(repr(chats[0]))}")
    elif structures := [name for name, column in columns.items() if column.other == "texts inside"]:
        raise RequestError(
            f"{where}: the texts are inside {structures[0]!r}: Dataset.flatten() of Hugging Face's datasets makes columns of "
            "them; or choose another column with --column"
        )
    elif len(of_text) == 1:
        return _chosen(next(iter(of_text)), columns, "the only one of text")
    elif (
        len(left := [name for name, column in of_text.items() if not (column.texts and column.numbers)]) == 1
        and not of_text[left[0]].codes
    ):
        return _chosen(left[0], columns, "the others are numbers")
    if not of_text:
        packed = [name for name, column in columns.items() if column.other == "bytes"]
        how = f"; {packed[0]!r} holds bytes: store them as strings" if packed else ""
        raise RequestError(f"{where}: no column holds text; the columns are {listed(columns)}{how}")
    raise RequestError(
        f"{where}: choose one with --column, several with --fields, or what to answer and the answer with --source and "
        f"--target; the columns of text are {_with_examples(of_text)}"
    )


def _named_text(of_text: Columns, where: object) -> str | None:
    """The column that is called `text`, if any values are texts; None if others have some and it has none.

    Raises RequestError if it holds codes while another holds texts.
    """
    named = ["text"] if "text" in of_text else [name for name in of_text if name.casefold() == "text"]
    if len(named) != 1:
        return None
    column, others = of_text[named[0]], [name for name, other in of_text.items() if not other.unlikely]
    if not column.texts and others:
        return None
    if column.codes and others:
        shown = {name: of_text[name] for name in (*named, *others)}
        raise RequestError(f"{where}: choose a column with --column: {_with_examples(shown)}")
    return named[0]


def _with_examples(columns: Columns) -> str:
    return _some([f"{name!r}{_shortened(column.example)}" for name, column in columns.items()])


def _refuse_longer_inside(columns: Columns, length: float, where: object) -> None:
    """Raise RequestError if texts inside the objects of a column are far longer than those of this mean length."""
    inside = {name: longest_inside(column.inside) for name, column in columns.items()}
    name, (path, longest) = max(inside.items(), key=lambda of: of[1][1], default=("", ("", 0.0)))
    if not path or longest < _DOMINANT * length:
        return
    raise _inside(name, columns[name], where)


def _inside(name: str, column: ColumnSample, where: object) -> RequestError:
    if column.other == "chat":
        return RequestError(f"{where}: {a_chat(repr(name))}")
    path, _ = longest_inside(column.inside)
    where_inside = (joined_parts(column.inside, key_path(name)) if column.texts else None) or key_path(name) + path
    out = f"{taken_out(column.rows, where_inside)} takes them out" if column.rows else "write them to a column of text"
    return RequestError(f"{where}: the texts are inside {name!r}: {out}")


def empty_columns(columns: Columns) -> ColumnNames:
    """The columns without a value in the sample that may yet hold the texts; none if one is named `text` and has a value, or
    there is no other that could."""
    possible = {name: column for name, column in columns.items() if not column.not_text}
    named = any(name.casefold() == "text" and column.texts for name, column in possible.items())
    if named or (len(possible) == 1 and all(column.typed for column in possible.values())):
        return ()
    return tuple(name for name, column in possible.items() if not column.texts and name.strip())


def has_texts(columns: Columns) -> bool:
    """Whether some column is likely to hold texts, by its values or its name."""
    return any(column.holds_text and (not column.unlikely or name.casefold() == "text") for name, column in columns.items())


def a_chat(column: str) -> str:
    """The message for a column of chats."""
    return (
        f"{column} is a chat (a list of messages), not a text: write each question and answer into columns of their own, "
        "then name them with --source and --target"
    )


def _wanted(columns: Columns, wanted: ColumnNames, where: object) -> Choice:
    found: list[str] = []
    for name in wanted:
        same = [name] if name in columns else [column for column in columns if _folded(column) == _folded(name)]
        if len(same) != 1:
            within = [column for column in columns if name in column]
            hint = f"; did you mean {within[0]!r}?" if len(within) == 1 else did_you_mean(name, columns)
            raise RequestError(f"{where}: there is no column {name!r}; the columns are {listed(columns)}{hint}")
        column = columns[same[0]]
        if column.other == "chat" or (column.inside and not column.texts):
            raise _inside(same[0], column, where)
        if not column.typed and column.other in ("schema", "texts inside"):
            of_text = [other for other, sample in columns.items() if sample.holds_text]
            raise RequestError(f"{where}: the column {same[0]!r} does not hold text; {listed(of_text)} does")
        found += same
    renamed = [name for name, asked in zip(found, wanted, strict=True) if name != asked]
    lists = [name for name in found if columns[name].lists]
    notes = [f"{_LINES.format(listed(lists))}"] if lists else []
    others = tuple(name for name in columns if name not in found)
    return Choice(tuple(found), "; ".join([f"read the column {name!r}" for name in renamed] + notes), "", others)


_LINES = "each text of {} is a list of strings, joined as lines"


def _chosen(name: str, columns: Columns, why: str) -> Choice:
    others = [other for other in columns if other != name and other.strip()]
    also = ", ".join(others[:5]) + (", …" if len(others) > 5 else "")
    reasons = [why] if why and others else []
    reasons += [f"also: {also}"] if others else []
    column = f"the column {name!r}" if name.strip() else "a column without a name"
    note = f"texts of {column}" + (f" ({'; '.join(reasons)})" if reasons else "")
    note += ", each a list of strings, joined as lines" if columns[name].lists else ""
    if splits := [other for other in others if _folded(other) in _SPLIT_NAMES]:
        note += f"; {splits[0]!r} is not used and all rows are: to hold some out, write a file for each split"
    return Choice((name,), note, why, tuple(others))


_SPLIT_NAMES = ("split", "subset", "partition")


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).strip().casefold()


def _shortened(text: str) -> str:
    """The beginning of a text, for a message; "" if it is empty."""
    line = " ".join(text[: 10 * _EXAMPLE_CHARS].split())
    return f' ("{line if len(line) <= _EXAMPLE_CHARS else line[: _EXAMPLE_CHARS - 1] + "…"}")' if line else ""


def listed(names: Iterable[str]) -> str:
    return _some([repr(name) for name in names]) or "none"


def _some(parts: Sequence[str]) -> str:
    """The parts with commas between them, and of very many the first and how many more there are."""
    more = f" and {len(parts) - _MANY:,} more" if len(parts) > _MANY else ""
    return ", ".join(part if len(part) <= _LONG else f"{part[:_LONG]}…" for part in parts[:_MANY]) + more
