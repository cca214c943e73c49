"""What was understood of a source, as run.json records it (`data.understood`)."""

from __future__ import annotations

from pathlib import Path

from aigc_cli.data.sources.opening import open_training
from aigc_cli.data.text.kind import TEXT


def _write(folder: Path, **files: str) -> None:
    for name, content in files.items():
        path = folder / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)


def test_files_splits_and_what_is_skipped_are_recorded_as_they_are_told(tmp_path: Path) -> None:
    _write(
        tmp_path / "d", train_tsv="text\na\n", dev__a_txt="b", dev__b_txt="c", test_tsv="text\nd\n", notes_pdf="x", g_zip="y"
    )
    (tmp_path / "v.txt").write_text("e")
    with open_training(TEXT, str(tmp_path / "d"), str(tmp_path / "v.txt"), None) as opened:
        assert opened.describe()["understood"] == {
            "files": {"count": 4, "by_suffix": {".tsv": 2, ".txt": 2}, "examples": ["dev/a.txt", "dev/b.txt", "test.tsv"]},
            "splits": {"train": "train.tsv", "val": "dev/, 2 files", "test": "test.tsv"},
            "skipped": [{"what": "files of other types", "count": 2, "examples": ["g.zip", "notes.pdf"]}],
            "val": {"files": {"count": 1, "by_suffix": {".txt": 1}, "examples": ["v.txt"]}},
        }
        assert opened.notes == (
            "splits: train (train.tsv), val (dev/, 2 files), test (test.tsv)",
            f"ignored 2 files of other types in {tmp_path / 'd'}: g.zip, notes.pdf",
        )


def test_what_is_skipped_of_validation_data_is_told(tmp_path: Path) -> None:
    _write(tmp_path, d__a_txt="a", v__b_txt="b", v__c_pdf="c")
    with open_training(TEXT, str(tmp_path / "d"), str(tmp_path / "v"), None) as opened:
        assert opened.notes == (f"--val: ignored 1 file of another type in {tmp_path / 'v'}: c.pdf",)
