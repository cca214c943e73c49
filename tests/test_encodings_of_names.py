"""Legacy encodings told from bytes, down to names of one or two characters."""

import pytest

from aigc_cli.data.encodings import describe_encoding, likely

SAMPLES = [
    ("gb18030", "猫狗"),
    ("gb18030", "训练测试"),
    ("gb18030", "床前明月光，疑是地上霜。"),
    ("big5", "貓狗"),
    ("big5", "風景人物"),
    ("cp932", "猫犬"),
    ("cp932", "ソ表示"),
    ("cp932", "ネコ"),
    ("cp949", "사랑이별봄날나비"),
    ("cp949", "고양이"),
    ("cp949", "똠얌 펲시"),
    ("euc_jp", "古池や蛙飛びこむ水の音"),
    ("koi8_r", "кошка собака"),
    ("cp1251", "кошка собака"),
    ("cp1251", "Я помню чудное мгновенье"),
    ("cp866", "кошка собака"),
    ("cp1252", "café thé"),
    ("cp437", "café"),
]


def _ranked(data: bytes, language: str | None = None) -> list[str]:
    return [guess.encoding for guess in likely([data], language)]


@pytest.mark.parametrize(("encoding", "text"), SAMPLES, ids=[f"{encoding}-{text[:6]}" for encoding, text in SAMPLES])
def test_the_encoding_that_bytes_are_in_comes_first(encoding, text):
    assert _ranked(text.encode(encoding), language="C")[0] == encoding


def test_the_language_of_the_environment_breaks_a_tie(monkeypatch):
    for name in ("LC_ALL", "LC_CTYPE"):
        monkeypatch.delenv(name, raising=False)
    cat = "猫".encode("gbk")
    for language, encoding in (("zh_CN.UTF-8", "gb18030"), ("zh_TW.UTF-8", "big5")):
        monkeypatch.setenv("LANG", language)
        ranked = _ranked(cat)
        assert ranked[0] == encoding and {"gb18030", "big5"} <= set(ranked)


def test_ascii_and_noise_are_in_no_legacy_encoding():
    assert _ranked(b"cat and dog") == []
    assert _ranked(bytes(range(0x80, 0xA0)) * 4) == []


def test_iconv_knows_the_names_that_are_told():
    for encoding in {name for name, _ in SAMPLES}:
        "a".encode(describe_encoding(encoding))  # Python knows them by the same names
