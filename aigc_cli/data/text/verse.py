"""`demo:verse`: rhymed verse from a probabilistic grammar, so that the best possible loss is known.

A poem is two or three couplets of iambic tetrameter. For a couplet, a class of rhymes and two different words of it are drawn
to end its lines. For a line, a template and a word for each slot are drawn; all words of a slot have the same stress.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import TypeAlias

from aigc_cli.data import cache

Slot: TypeAlias = tuple[str, ...]
"""The words to draw from, with equal probabilities; a word listed twice is twice as likely."""


def _words(text: str) -> Slot:
    return tuple(text.split())


# Stress: u unstressed, / stressed. A line is u/u/u/u/.
_THE = _words("the the the the my our this that")  # u
_WHILE = _words("and but for as while when where yet so")  # u
_SILVER = _words(  # /u
    "golden silver quiet gentle lonely silent tender bitter ancient hidden broken sleeping shining crimson "
    "frozen humble distant weary patient hollow"
)
_MOON = _words(  # /
    "moon star bird lamp stone cloud field horse wave heart child rose leaf bell ship wolf flame"
)
_RIVER = _words(  # /u
    "river meadow shadow summer winter sparrow garden forest mountain shepherd candle pilgrim morning "
    "evening valley willow sailor island"
)
_WINTER = _words(  # /u
    "winter summer autumn morning evening twilight thunder sorrow silver wonder laughter water"
)
_WANDERS = _words(  # /u
    "wanders whispers lingers glimmers trembles slumbers listens hurries murmurs flickers settles beckons shivers"
)
_BY = _words("by near past through from in on")  # /
_BENEATH = _words("above beneath beside beyond across along behind among around below")  # u/
_RECALLS = _words(  # u/
    "awakes forgets recalls surrounds adorns beholds delights consoles pursues defends reveals enfolds admires forgives"
)
_RETURNS = _words("returns appears descends departs remains ascends arrives awaits endures retires")  # u/
_GREETS = _words("fills holds finds keeps greets seeks guards hides warms knows meets sees hears loves")  # /
_SINGS = _words("sings waits sleeps stands dreams turns rests gleams calls shines")  # /

_TEMPLATES: tuple[tuple[Slot, ...], ...] = (
    (_THE, _SILVER, _MOON, _RECALLS, _THE),  # The golden moon recalls the sea
    (_THE, _RIVER, _WANDERS, _BY, _THE),  # The river wanders past the hill
    (_BENEATH, _THE, _SILVER, _MOON, ("and",)),  # Beneath the silent star and tree
    (_WHILE, ("every",), _MOON, _RECALLS, _THE),  # While every heart recalls the spring
    (_THE, _MOON, ("of",), _WINTER, _GREETS, _THE),  # The bell of morning greets the bay
    (_THE, _MOON, _RETURNS, _BENEATH, _THE),  # The moon returns beyond the hill
    (_WHILE, _BY, _THE, _RIVER, _SINGS, _THE),  # And by the river sings the wing
    (("o",), _SILVER, tuple(f"{word}," for word in _RIVER), _SILVER),  # O gentle river, silver sea
)

_RHYMES: tuple[Slot, ...] = (
    _words("night light height sight flight knight"),
    _words("day way bay clay spray"),
    _words("sea tree bee key lea"),
    _words("hill mill rill quill sill"),
    _words("sound ground mound hound"),
    _words("town crown gown clown"),
    _words("rain plain lane train grain chain"),
    _words("king spring ring wing string"),
    _words("snow crow doe foe glow"),
    _words("stream dream gleam beam team"),
    _words("air chair bear hare stair"),
    _words("shore door floor oar"),
    _words("hall wall call ball"),
    _words("vale sail tale gale trail"),
    _words("brook book nook rook cook"),
    _words("tide bride guide side pride"),
)


@dataclass(frozen=True)
class Verse:
    """A grammar of verse: a line is the words of its template, followed by a rhyme word."""

    templates: tuple[tuple[Slot, ...], ...] = _TEMPLATES
    rhymes: tuple[Slot, ...] = _RHYMES  # classes of at least two words; each word is in only one class
    couplets: tuple[int, ...] = (2, 3)  # possible numbers of couplets, equally likely
    count: int = 20_000
    seed: int = 0

    def documents(self) -> Iterator[str]:
        """The poems of the dataset, the same every time."""
        rng = Random(self.seed)
        for _ in range(self.count):
            yield self.sample(rng)[0]

    def sample(self, rng: Random) -> tuple[str, float]:
        """A poem, and the negative log-probability of its draws, in nats."""
        nats = 0.0

        def choose(options: Sequence[str]) -> str:
            nonlocal nats
            chosen = options[_below(rng, len(options))]
            nats -= math.log(options.count(chosen) / len(options))
            return chosen

        lines = []
        count = self.couplets[_below(rng, len(self.couplets))]
        nats += math.log(len(self.couplets))
        for _ in range(count):
            rhyme = self.rhymes[_below(rng, len(self.rhymes))]
            nats += math.log(len(self.rhymes))
            first = choose(rhyme)
            second = choose([word for word in rhyme if word != first])
            for end, mark in ((first, ","), (second, ".")):
                template = self.templates[_below(rng, len(self.templates))]
                nats += math.log(len(self.templates))
                line = " ".join([*(choose(slot) for slot in template), end])
                lines.append(line[0].upper() + line[1:] + mark)
        return "\n".join(lines), nats

    def nats(self, text: str) -> float:
        """-log p(text), summed over all derivations; infinite for text that the grammar can't produce."""
        lines = text.split("\n")
        count, odd = divmod(len(lines), 2)
        if odd or count not in self.couplets:
            return math.inf
        nats = math.log(len(self.couplets))
        for first, second in zip(lines[::2], lines[1::2], strict=True):
            p = self._line(first, ",") * self._line(second, ".") * self._rhyme(_end(first), _end(second))
            if p == 0:
                return math.inf
            nats -= math.log(p)
        return nats

    def _line(self, line: str, mark: str) -> float:
        """The probability of a line, given its last word."""
        words = (line[:1].lower() + line[1:-1]).split(" ")
        if not line.endswith(mark) or line[:1] != line[:1].upper():
            return 0.0
        total = 0.0
        for template in self.templates:
            if len(template) == len(words) - 1:
                total += math.prod(slot.count(word) / len(slot) for slot, word in zip(template, words[:-1], strict=True))
        return total / len(self.templates)

    def _rhyme(self, first: str, second: str) -> float:
        """The probability of a couplet's rhyme words."""
        for rhyme in self.rhymes:
            if first in rhyme and second in rhyme and first != second:
                return 1 / len(self.rhymes) / len(rhyme) / (len(rhyme) - 1)
        return 0.0

    def entropy(self) -> float:
        """The entropy of a poem in nats, if no line fits two templates, which holds for the default grammar."""
        line = math.log(len(self.templates)) + _mean([sum(_entropy(slot) for slot in template) for template in self.templates])
        rhyme = math.log(len(self.rhymes)) + _mean([math.log(len(r) * (len(r) - 1)) for r in self.rhymes])
        return math.log(len(self.couplets)) + _mean(self.couplets) * (rhyme + 2 * line)

    def fingerprint(self) -> str:
        """A hash of everything the poems depend on."""
        return cache.key_of(self.templates, self.rhymes, self.couplets, self.count, self.seed)


def _below(rng: Random, n: int) -> int:
    """A uniform integer in [0, n), from `random()`, the only method whose stream Python guarantees."""
    return int(rng.random() * n)


def _end(line: str) -> str:
    return line[:-1].rsplit(" ", 1)[-1]


def _entropy(slot: Slot) -> float:
    return -_mean([math.log(slot.count(word) / len(slot)) for word in slot])


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


DEMOS = {"verse": Verse()}
"""The built-in text datasets by name."""
