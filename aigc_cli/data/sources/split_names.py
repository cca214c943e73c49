"""Which split a name stands for. Used for names of folders, files, arrays in a file and splits on the Hub."""

from __future__ import annotations

import re
import unicodedata

SPLITS = ("train", "val", "test")
"""In display order."""

_WORDS = {
    "train": "train training trainset trainval 训练 训练集",
    "val": "val valid validation valset dev devset 验证 验证集",
    "test": "test testing testset eval evaluation 测试 测试集",
}
_WHOLE = {
    "train": "trn entrenamiento treino treinamento addestramento entraînement entrainement обучение 学習 訓練 訓練集 학습 훈련",
    "val": "vld validación validacion validação validacao validazione validierung валидация 検証 驗證 驗證集 검증",
    "test": "tst prueba pruebas teste prova тест テスト 測試 測試集 시험 테스트",
}
"""Names that mean a split only by themselves: in longer names they are too often something else."""
_SHORT = {"tr": "train", "va": "val", "te": "test", "ts": "test"}  # may also be languages
_SPLIT_OF = {word: split for split, words in _WORDS.items() for word in words.split()}
_SPLIT_OF_WHOLE = {name: split for split, names in _WHOLE.items() for name in names.split()}
_SETS = tuple(word for word in _SPLIT_OF if word.endswith("集"))  # Chinese has no spaces: 唐诗训练集
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[^\W\d_a-zA-Z]+")
_SHARD = re.compile(r"-\d+-of-\d+$")  # train-00000-of-00002


def nfc(name: str) -> str:
    """The form in which names are compared: é is one character, as on most systems, although macOS may write two."""
    return unicodedata.normalize("NFC", name)


def is_nfc(name: str) -> bool:
    """Whether `nfc` leaves a name as it is."""
    return unicodedata.is_normalized("NFC", name)


def words_of(name: str) -> list[str]:
    """Its words in lower case: xTrain, x_train and train2017 have the word train; latest doesn't have the word test."""
    return [word.casefold() for word in _WORD.findall(nfc(name))]


def split_of(name: str) -> str:
    """train, val or test; "" for a name with none of them or several. Pass the name without a suffix.

    A split for both training and validation is train.
    """
    if (whole := _SPLIT_OF_WHOLE.get(nfc(name).casefold())) is not None:
        return whole
    found = {_split_of_word(word) for word in words_of(_SHARD.sub("", name))} - {""}
    if found == {"train", "val"}:
        return "train"
    return found.pop() if len(found) == 1 else ""


def is_split(name: str) -> bool:
    """Whether the whole name is that of a split: "Train" is, "train tracks" may be something else."""
    name = _SHARD.sub("", nfc(name)).casefold()
    return name in _SPLIT_OF or name in _SPLIT_OF_WHOLE


def _split_of_word(word: str) -> str:
    return _SPLIT_OF.get(word) or next((_SPLIT_OF[end] for end in _SETS if word.endswith(end)), "")


def are_splits(names: set[str]) -> bool:
    """Whether sibling names are those of splits: each contains a split, and there is train or a second split, or the names
    contain nothing else.

    Names with spaces must differ in the split alone: "train images" and "test images" do, "train station" and "test tube" are
    classes.
    """
    found: dict[str, set[str]] = {}
    spaced = False
    for name in names:
        if not (split := split_of(name)):
            return False  # early, because there may be a million names
        found.setdefault(split, set()).add(" ".join(word for word in words_of(name) if not _split_of_word(word)))
        spaced |= " " in name
    if spaced:
        return len(found) > 1 and bool(set.intersection(*found.values()))
    return "train" in found or len(found) > 1 or all(map(is_split, names))


def splits_of(names: set[str]) -> dict[str, str]:
    """The split of each of some sibling names, if they are those of splits, or all short: tr, va and te; otherwise empty."""
    if are_splits(names):
        return {name: split_of(name) for name in names}
    short = {name: _SHORT.get(name.casefold(), "") for name in names} if 1 < len(names) <= len(_SHORT) else {}
    return short if all(short.values()) and "train" in short.values() else {}


def ordered(splits: set[str]) -> list[str]:
    return [split for split in SPLITS if split in splits]
