"""Tables of latent vectors: they are read back as written, and errors in the input are one line that says where."""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from aigc_cli.data.latents import Encoded, write_latents
from aigc_cli.data.latents_input import Latents, read_latents
from aigc_cli.errors import RequestError

FORMATS = ("tsv", "jsonl", "npz", "parquet")
NASTY = ["plain.png", "tab\there", "line\nbreak\r", "back\\slash\\t", "", "für 漢字 \u2028", '"quoted", {json}']


def table(n: int = 7, width: int = 3) -> Encoded:
    rng = np.random.default_rng(0)
    mean = (rng.normal(size=(n, width)) * 10.0 ** rng.integers(-30, 30, (n, width))).astype(np.float32)
    mean[0] = [0.1, -0.0, np.finfo(np.float32).max][:width]
    return Encoded((NASTY * n)[:n], {"mean": mean, "log_var": mean / 3, "score": rng.normal(size=n), "rank": np.arange(n)})


def parts_of(encoded: Encoded, size: int) -> list[Encoded]:
    starts = range(0, len(encoded.names), size)
    return [
        Encoded(encoded.names[i : i + size], {key: array[i : i + size] for key, array in encoded.columns.items()})
        for i in starts
    ]


def written(format: str, chunks: list[Encoded]) -> bytes:
    stream = io.BytesIO()
    assert write_latents(stream, format, iter(chunks)) == sum(len(chunk.names) for chunk in chunks)
    return stream.getvalue()


def read(tmp_path: Path, content: bytes, name: str = "latents") -> Latents:
    (tmp_path / name).write_bytes(content)
    return read_latents(str(tmp_path / name))


def refusal(tmp_path: Path, content: bytes | str) -> str:
    """What is said of a file, without its name."""
    with pytest.raises(RequestError) as caught:
        read(tmp_path, content if isinstance(content, bytes) else content.encode())
    message = str(caught.value)
    assert message.startswith(str(tmp_path / "latents")) and "\n" not in message
    return message.removeprefix(str(tmp_path / "latents")).lstrip(":, ")


# Round trips


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("size", [1, 3, 7])
def test_every_format_returns_names_and_vectors_exactly(tmp_path: Path, format: str, size: int) -> None:
    encoded = table()
    latents = read(tmp_path, written(format, parts_of(encoded, size)))
    assert list(latents.names) == NASTY
    assert latents.vectors.dtype == np.float32
    np.testing.assert_array_equal(latents.vectors, encoded.columns["mean"])


@given(
    arrays.arrays(
        np.float32,
        st.tuples(st.integers(1, 4), st.integers(1, 4)),
        elements=st.floats(width=32, allow_nan=False, allow_infinity=False),
    )
)
def test_text_keeps_every_float32(mean: Any) -> None:
    chunk = Encoded([str(i) for i in range(len(mean))], {"mean": mean})
    rows = written("tsv", [chunk]).decode().splitlines()[1:]
    np.testing.assert_array_equal(np.array([row.split("\t")[1:] for row in rows]).astype(np.float32), mean)
    lines = [json.loads(line)["mean"] for line in written("jsonl", [chunk]).splitlines()]
    np.testing.assert_array_equal(np.array(lines, np.float32), mean)


def test_the_formats_are_what_other_tools_read() -> None:
    encoded = table()
    parts = parts_of(encoded, 3)
    with np.load(io.BytesIO(written("npz", parts)), allow_pickle=False) as loaded:
        assert loaded["name"].dtype.kind == "U"
        assert loaded["name"].tolist() == NASTY
        for key, array in encoded.columns.items():
            np.testing.assert_array_equal(loaded[key], array)
            assert loaded[key].dtype == array.dtype
    parquet = pq.read_table(io.BytesIO(written("parquet", parts)))
    assert parquet.schema.field("mean").type == pa.list_(pa.float32())
    assert parquet.schema.field("score").type == pa.float64()
    assert parquet["name"].to_pylist() == NASTY
    np.testing.assert_array_equal(np.array(parquet["log_var"].to_pylist(), np.float32), encoded.columns["log_var"])
    rows = [line.split("\t") for line in written("tsv", parts).decode().removesuffix("\n").split("\n")]
    assert rows[0] == ["name", "mean_0", "mean_1", "mean_2", "log_var_0", "log_var_1", "log_var_2", "score", "rank"]
    assert {len(row) for row in rows} == {9}
    assert rows[2][0] == "tab\\there" and rows[2][8] == "1"
    line = json.loads(written("jsonl", parts).decode().split("\n")[3])
    assert line["name"] == "back\\slash\\t" and line["score"] == encoded.columns["score"][3] and line["rank"] == 3


def test_what_is_not_finite_is_null_in_json() -> None:
    chunk = Encoded(["a"], {"mean": np.zeros((1, 2), np.float32), "score": np.array([np.inf])})
    assert json.loads(written("jsonl", [chunk])) == {"name": "a", "mean": [0.0, 0.0], "score": None}


@pytest.mark.parametrize("format", FORMATS)
def test_a_name_that_is_not_utf8_is_written(tmp_path: Path, format: str) -> None:
    chunk = Encoded(["caf\udce9.png"], {"mean": np.ones((1, 2), np.float32)})
    assert list(read(tmp_path, written(format, [chunk])).names) == ["caf\\udce9.png"]


def test_text_leaves_with_every_chunk() -> None:
    stream = io.BytesIO()
    sizes = []

    def chunks() -> Any:
        for part in parts_of(table(), 2):
            sizes.append(len(stream.getvalue()))
            yield part

    write_latents(stream, "tsv", chunks())
    assert sizes == sorted(set(sizes)) and len(sizes) == 4


def test_a_compressed_file_a_plain_array_and_hand_made_tables(tmp_path: Path) -> None:
    encoded = table()
    packed = read(tmp_path, gzip.compress(written("tsv", [encoded])), "latents.tsv.gz")
    np.testing.assert_array_equal(packed.vectors, encoded.columns["mean"])
    stream = io.BytesIO()
    np.save(stream, np.arange(6).reshape(2, 3))
    plain = read(tmp_path, stream.getvalue())
    assert (list(plain.names), plain.vectors.tolist()) == (["row 1", "row 2"], [[0, 1, 2], [3, 4, 5]])
    tsv = read(tmp_path, "\ufefflatent_1\tnote\tlatent_0\r\n2\tx\t1\r\n\r\n4\ty\t3e0\r\n".encode())
    assert (list(tsv.names), tsv.vectors.tolist()) == (["row 1", "row 3"], [[1, 2], [3, 4]])
    lines = read(tmp_path, b'{"mean": [9], "latent": [1]}\n\n{"latent": [2.5], "name": 7}\n')
    assert (list(lines.names), lines.vectors.tolist()) == (["row 1", "7"], [[1], [2.5]])  # latent goes before mean


# Bad input


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "line 1: there is no column 'latent_0' or 'mean_0' or 'codes_0'; the columns are ''"),
        ("name\tscore\na\t1\n", "line 1: there is no column 'latent_0' or 'mean_0' or 'codes_0'; the columns are 'name', 'score'"),
        ("name\tmean_0\tmean_2\na\t1\t2\n", "line 1: the column 'mean_1' is missing, but later ones are present"),
        ("name\tmean_0\n", "has no latent vectors"),
        ("name\tmean_0\na\t1\nb\tlow\n", "line 3, column mean_0: 'low' is not a number"),
        ("name\tmean_0\na\tnan\n", "line 2, column mean_0: nan is not a finite number"),
        ("name\tmean_0\na\t1e999\n", "line 2, column mean_0: 1e999 is not a finite number"),
        ("name\tmean_0\na\t1\t2\n", "line 2: 3 cells, but the header has 2 columns"),
        ("mean_0\tmean_1\n1\t1e39\n", "row 1: number 2 of the vector is inf, not a finite float32"),
        (b"mean_0\n1\n\xff\n", "line 3: byte 0 of the line is not UTF-8"),
        ('{"name": "a"}\n', "line 1: there is no column 'latent' or 'mean' or 'codes'; the columns are 'name'"),
        ('{"mean": [1]}\n{"latent": [1]}\n', "line 2: there is no column 'mean'; the columns are 'latent'"),
        ('{"mean": [1]}\n{"mean": [1\n', "line 2: not valid JSON: Expecting ',' delimiter"),
        ('{"mean": [1]}\n[1]\n', "line 2: expected an object, found list"),
        ('{"mean": 1}\n', "line 1: 'mean' is not a list of numbers"),
        ('{"mean": [1, "x"]}\n', 'line 1: mean[1] is "x", not a finite number'),
        ('{"mean": [1, null]}\n', "line 1: mean[1] is null, not a finite number"),
        ('{"mean": [true]}\n', "line 1: mean[0] is true, not a finite number"),
        ('{"mean": [NaN]}\n', "line 1: mean[0] is NaN, not a finite number"),
        ('{"mean": [1, 2]}\n{"mean": [1]}\n', "line 2: 'mean' has 1 numbers, but 2 in the first line"),
    ],
)  # fmt: skip
def test_bad_text_names_the_line(tmp_path: Path, content: str | bytes, message: str) -> None:
    assert refusal(tmp_path, content) == message


def parquet(**columns: Any) -> bytes:
    stream = io.BytesIO()
    pq.write_table(pa.table(columns), stream)
    return stream.getvalue()


def numpy(**columns: Any) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **columns)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PAR1 and no more", "is a damaged Parquet file: "),
        (parquet(name=["a"]), "there is no column 'latent' or 'mean' or 'codes'; the columns are 'name'"),
        (parquet(mean=[1.0]), "the column 'mean' holds double, not lists of numbers"),
        (parquet(mean=[["x"]]), "the column 'mean' holds list<element: string>, not lists of numbers"),
        (parquet(mean=[[1.0], None]), "row 2: 'mean' has no vector, but other rows have 1 numbers"),
        (parquet(mean=[[1.0, 2.0], [1.0]]), "row 2: 'mean' has 1 numbers, but other rows have 2 numbers"),
        (parquet(mean=[[1.0], [float("nan")]]), "row 2: number 1 of the vector is nan, not a finite float32"),
        (parquet(mean=[[1.0], [None]]), "row 2: number 1 of the vector is nan, not a finite float32"),
        (b"PK\x03\x04 and no more", "is damaged or not a NumPy file of numbers: "),
        (b"\x93NUMPY\x01\x00", "is damaged or not a NumPy file of numbers: "),
        (numpy(score=np.zeros(3)), "there is no column 'latent' or 'mean' or 'codes'; the columns are 'score'"),
        (numpy(mean=np.zeros(3)), "the mean is float64 of shape (3,); expected numbers (n, d)"),
        (numpy(mean=np.zeros((2, 2), complex)), "the mean is complex128 of shape (2, 2); expected numbers (n, d)"),
        (numpy(mean=np.array([["a"]])), "the mean is <U1 of shape (1, 1); expected numbers (n, d)"),
        (numpy(mean=np.array([[1.0, np.inf]])), "row 1: number 2 of the vector is inf, not a finite float32"),
        (numpy(mean=np.zeros((0, 4))), "has no latent vectors"),
        (numpy(mean=np.array([[None]])), "is damaged or not a NumPy file of numbers: Object arrays cannot be loaded when allow_pickle=False"),
    ],
)  # fmt: skip
def test_bad_tables_name_the_row(tmp_path: Path, content: bytes, message: str) -> None:
    said = refusal(tmp_path, content)
    assert said.startswith(message) if message.endswith(": ") else said == message


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    for name, reason in (("none.tsv", "No such file or directory"), (".", "Is a directory")):
        with pytest.raises(RequestError, match=f"^cannot read .*: {reason}$"):
            read_latents(str(tmp_path / name))
    (tmp_path / "broken.tsv.gz").write_bytes(gzip.compress(written("tsv", [table()]))[:-9])
    with pytest.raises(RequestError, match="is broken and cannot be decompressed"):
        read_latents(str(tmp_path / "broken.tsv.gz"))


def test_the_width_is_checked_against_the_model(tmp_path: Path) -> None:
    latents = read(tmp_path, written("tsv", [table(width=3)]))
    latents.require_width(3)
    with pytest.raises(RequestError, match=r"latents: its vectors have 3 numbers, but this model's have 40; "):
        latents.require_width(40)
