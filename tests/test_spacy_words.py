"""Words split by spaCy: lossless, with one line about anything not installed, and refused by tools that can't read them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from conftest import Shell, make_shell
from hypothesis import given, settings
from hypothesis import strategies as st

from aigc_cli.data.text.tokenizers import spacy_words
from aigc_cli.data.text.tokenizers.spacy_words import SpacyWords, is_spacy
from aigc_cli.data.text.tokenizers.special_tokens import SPECIAL
from aigc_cli.data.text.tokenizers.tokenizer import Tokenizer
from aigc_cli.data.text.tokenizers.words import fit_word
from aigc_cli.errors import RequestError

pytest.importorskip("spacy")
pytest.importorskip("jieba")

CORPUS = ["The river runs, the river's wide; we don't cross it.  <pad> <unk>" * 3, "我爱北京天安门，春眠不觉晓。" * 3]


@pytest.fixture(scope="module", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    with pytest.MonkeyPatch.context() as patch:  # where jieba keeps its dictionary
        patch.setenv("AIGC_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        SpacyWords.named("spacy:blank:zh").check()


ENGLISH, CHINESE = SpacyWords.named("spacy:blank:en"), SpacyWords.named("spacy:blank:zh")
TOKENIZERS = {
    "english": fit_word(CORPUS, 2, segmenter=ENGLISH).with_lower(),
    "chinese": fit_word(CORPUS, 2, segmenter=CHINESE).with_fields(),
    "chinese unk": fit_word(CORPUS, 2, segmenter=CHINESE, unk=True),
    "whitespace": fit_word(CORPUS, 1, segmenter=SpacyWords.named("spacy:blank:xx")),
}
NASTY = [
    "e\u0301",
    "a\u0323\u0307",
    *SPECIAL,
    " ",
    "  ",
    "\r\n",
    " \n ",
    "\u3000",
    "\u0130",
    "👩‍👩‍👧",
    "\x00",
    "don't",
    "北京",
    "U.S. ",
    "...)",
]
TEXTS = st.lists(st.one_of(st.text(st.characters(exclude_categories=["Cs"])), st.sampled_from(NASTY))).map("".join)

each = pytest.mark.parametrize("name", TOKENIZERS)


@pytest.mark.parametrize(
    ("words", "cut"),
    [
        (ENGLISH, " We| do|n't| cross|,| you|'ll| see|.|\n|Two|  | spaces| "),
        (CHINESE, "我|爱|北京|天安门|，| 北京| and| more|。"),
    ],
)
def test_words_are_spacys_with_the_space_before_them(words: SpacyWords, cut: str) -> None:
    expected = cut.split("|")
    assert words.pieces("".join(expected)) == expected
    assert words.pieces("") == []


@each
@settings(max_examples=100, deadline=None)
@given(text=TEXTS)
def test_nothing_is_lost(name: str, text: str) -> None:
    tokenizer = TOKENIZERS[name]
    ids = tokenizer.encode(text)
    assert tokenizer.decode(ids) == tokenizer.normalise(text)
    assert tokenizer.encode_batch([text, ""]) == [ids, []]
    never = {tokenizer.eot_id, tokenizer.field_id, *tokenizer.unwritten} - {tokenizer.unk_id}
    assert not never & set(ids)


def test_a_word_of_several_characters_is_one_token() -> None:
    tokenizer = TOKENIZERS["chinese"]
    assert [tokenizer.decode([index]) for index in tokenizer.encode("天安门北京。")] == ["天安门", "北京", "。"]
    assert len(tokenizer.encode(" 北京")) == 7  # with a space it is another word, which was not seen
    assert TOKENIZERS["chinese unk"].encode("天安")[0] == 1


@each
def test_a_saved_tokenizer_is_read_by_us_alone(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = TOKENIZERS[name]
    tokenizer.save(tmp_path)
    loaded = Tokenizer.load(tmp_path)
    assert (loaded.kind, loaded.fingerprint()) == (tokenizer.kind, tokenizer.fingerprint())
    assert loaded.encode(CORPUS[1]) == tokenizer.encode(CORPUS[1])
    record = json.loads((tmp_path / "tokenizer_config.json").read_text())["spacy"]
    assert record["spacy"] and ("jieba" in record) == ("chinese" in name)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    transformers = pytest.importorskip("transformers")
    (tmp_path / "config.json").write_text('{"model_type": "qwen3"}')
    with pytest.raises(ValueError, match="Couldn't instantiate"):
        transformers.AutoTokenizer.from_pretrained(tmp_path)


def test_another_version_of_what_cuts_is_noticed(tmp_path: Path) -> None:
    TOKENIZERS["chinese"].save(tmp_path)
    assert Tokenizer.load(tmp_path).changes == []
    file = tmp_path / "tokenizer_config.json"
    config = json.loads(file.read_text())
    now, config["spacy"]["jieba"] = config["spacy"]["jieba"], "0.1"
    file.write_text(json.dumps(config))
    assert Tokenizer.load(tmp_path).changes == [f"jieba 0.1, now {now}"]


def test_what_is_missing_is_said_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    TOKENIZERS["chinese"].save(tmp_path)

    def without(*missing: str) -> None:
        monkeypatch.setattr(spacy_words, "find_spec", lambda name: None if name in missing else find_spec(name))

    def said(name: str | None) -> str:
        with pytest.raises(RequestError) as caught:
            SpacyWords.named(name).check() if name else Tokenizer.load(tmp_path)
        return str(caught.value)

    without("spacy", "jieba")
    install = "tokenizer spacy:blank:zh needs {}; install it with: pip install 'aigc-cli[spacy]'"
    assert said(None) == said("spacy:blank:zh") == install.format("spaCy")
    without("jieba")
    assert said(None) == install.format("jieba")
    by_characters = SpacyWords.named("spacy:blank:zh")
    assert by_characters.pieces("北京，a") == ["北", "京", "，", "a"]
    assert by_characters.describe().endswith("(blank:zh, by characters, as jieba is not installed)")
    without()
    where = "is not installed; install it with: python -m spacy download"
    assert said("spacy:zh_core_web_sm") == f"tokenizer spacy:zh_core_web_sm {where} zh_core_web_sm"
    assert said("spacy:blank:qq") == "tokenizer spacy:blank:qq cannot be loaded: spaCy has no language 'qq'"


def test_names_are_never_paths() -> None:
    assert all(map(is_spacy, ("spacy:blank:zh", "spacy:zh_core_web_sm")))
    assert not any(map(is_spacy, ("spacy:", "spacy:./x", "spacy:/x", "spacy:blank:", "spacy:blank:a/b", "spacy:a\n", "word")))
    for record in ({"pipeline": "../x"}, {"pipeline": "blank:zh", "segmenter": "pkuseg"}):
        with pytest.raises(ValueError, match="is not the name of a pipeline"):
            SpacyWords.recorded(record)


PIPELINE = "aa_words_sm"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder on the path with a pipeline that is installed as spaCy's own are: English, with a component that fails."""
    import spacy

    nlp = spacy.blank("en", meta={"name": "words_sm", "version": "1.2.0"})
    nlp.add_pipe("sentencizer")
    site = tmp_path_factory.mktemp("pipelines")
    package = site / PIPELINE
    package.mkdir()
    nlp.to_disk(package / "en_words_sm-1.2.0")
    shutil.copy(package / "en_words_sm-1.2.0" / "meta.json", package / "meta.json")
    (package / "en_words_sm-1.2.0" / "sentencizer").write_text("not to be read")
    (package / "__init__.py").write_text(
        "from pathlib import Path\nfrom spacy.util import load_model_from_init_py\n"
        "def load(**overrides):\n    return load_model_from_init_py(__file__, **overrides)\n"
    )
    info = site / f"{PIPELINE}-1.2.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {PIPELINE}\nVersion: 1.2.0\n")
    (info / "entry_points.txt").write_text(f"[spacy_models]\n{PIPELINE} = {PIPELINE}\n")
    (info / "RECORD").write_text(f"{PIPELINE}/__init__.py,,\n")
    return site


def test_of_an_installed_pipeline_only_the_words_are_loaded(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(installed)
    words = SpacyWords.named(f"spacy:{PIPELINE}")
    assert words.pieces("We don't.") == ["We", " do", "n't", "."]
    assert (words.record()["pipeline"], words.record()["pipeline_version"]) == (PIPELINE, "1.2.0")
    with pytest.raises(RequestError, match="download aa_words_md; did you mean 'aa_words_sm'"):
        SpacyWords.named("spacy:aa_words_md")


# The command line


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory, toy_path: Path, shared_cache: Path) -> Shell:
    shell = make_shell(tmp_path_factory.mktemp("spacy"), toy_path, shared_cache)
    rows = [f"我爱{a}，{b}更好{i}。" for i in range(30) for a in ("北京", "上海") for b in ("天安门", "长城")]
    (shell.cwd / "poems.txt").write_text("\n".join(rows) + "\n")
    return shell


def test_chinese_words_from_the_command_line(reader: Shell) -> None:
    train = ("train", "transformer", "--data", "poems.txt", "--lines", "--steps", "5", "--tokenizer")
    done = reader(*train, "spacy:blank:zh", "--unk", "--run", "z")
    assert done.returncode == 0, done.stderr
    assert "(blank:zh, with jieba); other tools can't load this run's tokenizer" in done.stderr
    assert "jieba.cache" not in done.stderr and "prefix dict" not in done.stderr
    sampled = reader.ok("sample", "transformer", "--run", "z", "--prompt", "我爱北京", "-q", "--max-tokens", "5", "--echo")
    assert sampled.startswith("我爱北京")
    found = json.loads(reader.ok("eval", "transformer", "--run", "z", "--json", "-q", "-n", "2"))
    assert found["bits_per_char"]["value"] > 0 and "unknown_words" in found
    refused = reader(*train, "spacy:zh_no_such", "--run", "other")
    line = "aigc: tokenizer spacy:zh_no_such is not installed; install it with: python -m spacy download zh_no_such\n"
    assert (refused.returncode, refused.stderr) == (2, line)


def test_nothing_asks_for_spacy_unless_it_is_to_cut_something() -> None:
    code = "import sys, aigc_cli.backends.transformer.backend, aigc_cli.app; sys.exit('spacy' in sys.modules or 'jieba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
