"""Data as people really have them: what is made of every input that tools were reported to misread, through the command line.

The inputs are in `faulty_texts.py` and `faulty_pictures.py`; rules have their tests where they are named here (without `test_`).

| kind | inputs | what is done now | tests |
| --- | --- | --- | --- |
| the first row is not like the others | column-first-row-null, datasets#7222-null-throughout-one-file | the column is chosen over many rows | dialects.the_column_is_chosen_over_many_rows |
| the column has another name | axolotl#618-TEXT, google-forms, cpython#104380-codes | told, or all are listed | dialects.text_in_capitals_and_names_in_another_form |
| delimiter unlike the suffix | semicolons-in-csv, tabs-in-csv, commas-in-tsv, cpython#119123-two-of-each | told | dialects.the_delimiter_is_the_rows_own |
| quotation marks | quoted-tsv, poem-with-lone-mark, duckdb#19578-quotes-and-semicolons, duckdb#14883-mark-inside, tatoeba2#2973-mark-opens-a-cell, csv#435-mark-over-two-rows | read as they were meant; marks kept are told | dialects.dialects_of_public_inputs, dialects.quotes_that_first_come_late_in_a_tsv |
| no header, or a line before it | no-header, powershell#7776-sep | told | dialects.a_header_is_told_from_a_first_row |
| an open quotation mark | unclosed-quote | refused, with the line where it opens | dialects.an_open_quote_is_named_where_it_opens |
| splits by other names | Train-and-Test, training-one-deeper, hub-clone, prefixed-names, kaggle, vision#4925-empty-folder-beside-splits | told | splits_of_sources.folders |
| names that are like those of splits | datasets#7201-train.png, datasets#3788-farodevigo, datasets#5721-words-in-names, classes-train-plane-car | one source, or classes | splits_of_sources.many_texts_of_which_some_have_such_names_are_one_source |
| names in archives | zip-in-gbk, zip-in-utf8-unmarked, zip-with-backslashes, libzip#212-5c-in-shift-jis, zip#233-5c-in-gbk, tarindexer#9-cp1251, gbk-names-elsewhere | the encoding is told, with others it may be | archive_names.names_that_are_not_marked |
| names in two Unicode forms | classes-in-nfd, paperbanana#240-metadata-in-nfc | compared in form C | classes.a_label_is_found_however_its_letters_are_composed |
| links | class-is-a-link, loop | followed once, told | walk.nothing_is_read_twice_and_no_loop_is_entered |
| classes without training pictures | copies-in-several-classes, only-picture-of-a-class, ultralytics#13936-a-class-less, Cat-and-cat | no such class; told | classes.copies_in_several_classes_are_of_the_smallest |
| transparency | white-on-nothing, grey-16-bit-transparent, rgb-16-bit-transparent | laid on what hides nothing, told | transparency.transparency_in_every_mode |
| what a number means | 12-bits-in-16, float-tiff, pillow#3159-floats | white is told, or the conversion named | white.bits_are_told_by_the_greatest_number |
| layouts of JSON | pretty-json, objects-over-lines, pandas-split, json-beside-dataset-info, splits-in-one-json, peft#2204-messages, AngelSlim#7-sharegpt | told, or refused with what to write | json_layouts.a_layout_gives_its_texts_and_is_told |
| lists of lines | lists-of-lines, titles-and-lines | a text of several lines, told | dialects.lists_of_strings_are_lines |
| text by other suffixes | markdown | read as text | plain_text_files.a_file_that_is_named_is_read |
| the least of a split | one-long-two-short | the longest text is cut, told | sources.next_to_nothing_is_never_held_out |
| encodings | utf-16, gb18030 | believed by its mark; or refused with the command that converts | encodings_of_texts.the_command_that_is_named_converts |
| normal forms | normal-forms | told with their number | encodings_of_texts.characters_with_another_normal_form_are_told_once |
| other formats | heic-only, GRPO-Zero#1-lfs, web-page | refused with what was found, and what reads it | side_files.what_was_found_instead |
| left by systems and tools | synology, vision#2831-checkpoints, manyfold#2545-resource-forks, axolotl#1430-save-to-disk | left out, told | walk.what_systems_leave_behind_is_ignored_and_told |
| WebDataset | webdataset-cls, datasets#7144-dots-in-names | members are paired over the archive | webdataset.cls_members_are_labels |
| shapes | wide-pictures | 16 pixels of the shorter side are kept, told | picture_sources.long_pictures_keep_some_pixels_of_the_shorter_side |
| line ends | carriage-returns | recognised, told | encodings_of_texts.lines_that_end_at_returns |
| addresses | address | refused with the command that downloads | side_files.an_address_is_no_file |
| words that look like no values | not-numbers-but-texts | texts | sources.a_null_is_an_empty_document |
| prompts with a mark or breaks | | read as training texts are | prompts_and_arguments.a_file_is_read_as_training_texts_are, prompts_and_arguments.what_sample_writes_is_read_back |
| arguments that are not UTF-8 | | refused in a line | prompts_and_arguments.text_that_is_not_utf8_is_one_line |
| tables in a pipe | | recognised by their header, told, or lines | dialects.a_pipe_is_a_table_only_where_its_header_says_so, dialects.a_pipe_of_lines_is_told_and_columns_of_it_name_the_option |
| copies | | a column of copies is refused; near copies of held-out data are told | side_files.a_column_of_copies_is_refused_unless_it_was_named, near.a_changed_word_is_found |
"""

from __future__ import annotations

import ast
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from conftest import Shell
from faulty import Input
from faulty_pictures import PICTURES
from faulty_texts import TEXTS

from aigc_cli.data.pictures.format import PictureFormat
from aigc_cli.data.pictures.prepared import build
from aigc_cli.data.text.tokenizers.choice import choose_tokenizer
from aigc_cli.errors import RequestError
from aigc_cli.files import check_file

INPUTS = TEXTS | PICTURES
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in (__doc__ or "").splitlines() if line[:2] == "| "][2:]
QUICK = ("--steps", 1, "--batch-size", 4, "--device", "cpu", "--no-compile", "--matmul", "default", "--run", "r")
SMALL: Mapping[str, tuple[Any, ...]] = {
    "transformer": ("--preset", "nano", "--context", 32),
    "gan": ("--longest-side", 8),
    "vae": ("--longest-side", 8),
}


@pytest.mark.parametrize("name", INPUTS)
def test_what_is_made_of_an_input(name: str, tmp_path: Path, shell: Shell) -> None:
    given = INPUTS[name]
    given.make(tmp_path)
    options = (*(SMALL[given.backend] if given.small else ()), *QUICK, *given.options.split())
    done = shell("train", given.backend, "--data", given.data, *options, **given.environ)
    told = done.stderr
    assert "Traceback" not in told and all(part in told for part in (*given.told, *given.refused)), told
    if given.refused:
        assert done.returncode == 2 and told.splitlines()[-1].startswith("aigc: ") and told.count("\naigc: ") < 2, told
        return
    assert done.returncode == 0, told
    data = json.loads((tmp_path / "runs" / given.backend / "r" / "run.json").read_text())["data"]
    _check_number(given, data["splits"], told)
    assert _holds(data["understood"], given.understood), data["understood"]
    if given.label:
        shell.ok("sample", given.backend, "--run", "r", "--label", given.label, "--device", "cpu")


def _check_number(given: Input, splits: Mapping[str, Any], told: str) -> None:
    if given.backend == "transformer":
        assert sum(split["documents"] for split in splits.values()) == given.n, splits
    else:
        read = next(line for line in told.splitlines() if "pictures, " in line)
        assert read.startswith(f"{given.n} pictures, "), read


def _holds(found: Any, part: Any) -> bool:
    """Whether a JSON value has all of `part`: its fields, the beginning of its texts, and the items of its lists."""
    if isinstance(part, Mapping):
        return isinstance(found, Mapping) and all(name in found and _holds(found[name], part[name]) for name in part)
    if isinstance(part, list):
        return len(found) == len(part) and all(map(_holds, found, part))
    return found.startswith(part) if isinstance(part, str) else found == part


def test_the_table_names_every_input_and_tests_that_exist() -> None:
    assert sorted(name for row in ROWS for name in row[1].split(", ") if name) == sorted(INPUTS)
    for where in (where for row in ROWS for where in row[3].split(", ")):
        module, test = where.split(".")
        tree = ast.parse((Path(__file__).parent / f"test_{module}.py").read_text())
        assert f"test_{test}" in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}, where


# Messages


def test_small_sizes_are_not_rounded_to_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AIGC_CACHE_DIR", str(tmp_path))
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage._replace(free=12_345))
    with pytest.raises(RequestError, match=r"100 pictures of 32×32 RGB take 307 kB, and the cache .* has 12 kB left"):
        build._check_room(100, PictureFormat(32, 32, "RGB", "crop"))


def test_an_estimate_is_never_below_nothing() -> None:
    _, reason = choose_tokenizer(["a" * 5000], 5000, 1024)
    assert "-0.00" not in reason and "0.00 bits per character" in reason


def test_a_folder_that_cannot_be_written_to_is_said_to_be_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="name a file in an existing folder"):
        check_file(tmp_path / "missing" / "a.png", force=False)
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(RequestError, match=r"a\.png cannot be written, as its folder can't; name another folder"):
        check_file(tmp_path / "a.png", force=False)
