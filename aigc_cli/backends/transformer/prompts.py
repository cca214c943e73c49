"""How a text begins, for a model of many documents and for a model of one long one."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from aigc_cli.data.text import TextDataset
from aigc_cli.data.tokenizers import Tokenizer
from aigc_cli.errors import RequestError


@dataclass(frozen=True)
class Start:
    """Where documents are many, every text begins with the end-of-text token, as in training. Where they are longer than
    the context, nearly every row of training began in the middle: that token was hardly ever seen, so a text begins with
    its prompt, and without one with a new line (as nanoGPT's samples do)."""

    with_eot: bool

    @classmethod
    def of(cls, data: TextDataset, context: int) -> Start:
        documents = len(data.train.offsets) - 1
        rows = max(1.0, len(data.train.tokens) / context)
        return cls(documents / rows > 0.02)

    def prompt_ids(self, tokenizer: Tokenizer, prompt: str | None) -> list[int]:
        """What sampling begins from; never empty."""
        if self.with_eot:
            return [tokenizer.eot_id, *tokenizer.encode(prompt or "")]
        return tokenizer.encode(prompt or "\n")

    def save(self, folder: Path) -> None:
        (folder / "aigc.json").write_text(json.dumps({"start": asdict(self)}) + "\n")

    @classmethod
    def load(cls, folder: Path) -> Start:
        try:
            return cls(**json.loads((folder / "aigc.json").read_text())["start"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RequestError(f"{folder / 'aigc.json'} cannot be read: {error}") from None
