"""`aigc sample transformer`: samples for prompts, in order."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterable, Iterator
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from aigc_cli.backends.base import Sample as Drawn
from aigc_cli.backends.transformer.architectures import of_run
from aigc_cli.backends.transformer.config import Sample
from aigc_cli.backends.transformer.decoding.generate import Generated, Job, SamplingOptions
from aigc_cli.backends.transformer.decoding.language_model import LanguageModel
from aigc_cli.backends.transformer.inputs import TextInput, read_inputs
from aigc_cli.backends.transformer.loaded import Loaded
from aigc_cli.backends.transformer.prompts import Start
from aigc_cli.data.kinds import ReadAsTexts
from aigc_cli.data.text.tokenizers.tokenizer import Tokenizer
from aigc_cli.engine.events import Bus
from aigc_cli.engine.runs.run import Run
from aigc_cli.errors import RequestError
from aigc_cli.options import fields_of

if TYPE_CHECKING:
    from aigc_cli.backends.transformer.decoding.regex_constraint import RegexConstraint
    from aigc_cli.backends.transformer.records.contents import Contents


def sample_texts(run: Run, options: Sample, bus: Bus, piece: Callable[[str], None] | None) -> Iterator[Drawn]:
    """The samples in order. `piece` is called with text as it is generated."""
    loaded, contents = _with_pictures(of_run(run).load(run, options.device, bus), run, options, bus)
    tokenizer, kind = loaded.tokenizer, loaded.start.kind
    assert options.seed is not None
    check_choices(options)
    transcribed = isinstance(kind, ReadAsTexts)
    if transcribed and (options.match or options.stop):
        raise RequestError(f"--match and --stop are for texts, and this run learned from {kind.name}")
    constraint = _constraint(options, tokenizer)
    names = loaded.start.fields
    unmatched = unreached = too_long = 0
    longest = loaded.model.longest_prompt
    inputs: dict[int, TextInput] = {}

    def jobs() -> Iterator[Job]:
        nonlocal too_long
        for number, text in enumerate(read_inputs(loaded.start, options.given, options.prompt)):
            if isinstance(kind, ReadAsTexts) and text.prompt is not None:
                text = text._replace(prompt=kind.read_prompt(text.prompt))
            inputs[number] = text
            if number == 0 and (note := _begun(loaded.start, text)):
                bus.note(note)
            leading = text.leading if contents is None else contents.leading(text)
            ids = loaded.start.prompt_ids(tokenizer, text.prompt, leading)
            too_long += longest is not None and len(ids) > longest
            yield Job(number * options.n, ids, options.n)

    def echoed(index: int) -> str:
        leading, prompt = inputs[index // options.n]
        if not options.echo:
            return ""
        if loaded.start.answers:
            return f"{leading[0]}\t"
        return prompt if prompt and len(leading) + 1 >= len(names) else ""

    streamed = None if piece is None else _Streamed(piece, echoed)
    if options.beam is not None:
        samples = _likeliest(loaded, jobs(), options)
    else:
        samples = loaded.generate(
            jobs(),
            options=SamplingOptions(
                temperature=options.temperature,
                top_k=options.top_k,
                top_p=options.top_p,
                min_p=options.min_p,
                repetition_penalty=options.repetition_penalty,
                max_tokens=kind.longest if options.max_tokens is None else options.max_tokens,
                stop=options.stop,
            ),
            seed=options.seed,
            batch_size=options.batch_size if streamed is None else 1,
            constraint=constraint,
            on_bytes=None if streamed is None else streamed.take,
        )
    for made in samples:
        number = made.index // options.n
        inputs.pop(number - 1, None)
        leading, prompt = inputs[number]
        if contents is not None and contents.last_is_picture:
            yield contents.drawn(made, leading, options.seed)
            continue
        written = [part.decode("utf-8", "ignore") for part in made.fields]  # the last one may end within a character
        if transcribed:
            whole_text = (prompt or "") + written[0]
            yield Drawn({"seed": options.seed, "index": made.index, "finish": made.finish}, whole_text)
            continue
        reached = len(leading) + len(written) >= len(names)
        text = written[-1] if reached else ""
        unreached += not reached
        record: dict[str, Any] = {
            "text": text,
            "prompt": leading[0] if loaded.start.answers else prompt or "",
            "seed": options.seed,
            "index": made.index,
            "finish": made.finish,
        }
        if made.log_p is not None:
            record |= {"log_prob": made.log_p, "score": made.score}
        if made.removed is not None:
            record |= {"removed_mass": made.removed, "match": made.matches}
            unmatched += not made.matches
        whole = [*leading, (prompt or "") + written[0], *written[1:]]
        of_names = dict(zip_longest(names, whole[: len(names)], fillvalue=""))
        if contents is not None:
            of_names = contents.without_generated_pictures(of_names, len(leading))
        record |= {name: text for name, text in of_names.items() if not (loaded.start.answers and name in record)}
        if streamed is not None:
            streamed.end(made.index)
        yield Drawn(record, echoed(made.index) + text)
    if too_long:
        bus.note(f"{too_long:,} sources have more than {longest:,} tokens, the most the model was trained on")
    for count, what in ((unreached, "last field started"), (unmatched, "text matched")):
        if count:
            bus.note(f"{count:,} samples reached the token limit before their {what}; use a higher --max-tokens")


def _with_pictures(
    loaded: Loaded[LanguageModel], run: Run, options: Sample, bus: Bus
) -> tuple[Loaded[LanguageModel], Contents | None]:
    """The model with --guidance, and what reads and writes the pictures of its records; None if it has none."""
    if options.guidance is not None and (loaded.codec is None or len(loaded.start.fields) < 2):
        raise RequestError("--guidance: only for records with pictures or sounds and other fields to be given")
    if loaded.codec is None:
        return loaded, None
    from aigc_cli.backends.transformer.records.contents import contents_of, guided

    return guided(loaded, options), contents_of(loaded, loaded.codec, options, run.record["data"].get("values", {}), bus)


def _begun(start: Start, text: TextInput) -> str:
    """Which field the prompt begins, if it isn't the last one; otherwise ""."""
    at, last = len(text.leading), len(start.fields) - 1
    if not text.prompt or start.answers or at >= last:
        return ""
    given = " ".join(f"--given {name}=…" for name in start.fields[:last])
    return f"the prompt begins {start.fields[at]!r}; to begin {start.fields[last]!r}: {given} --prompt …"


def check_choices(options: Sample) -> None:
    """Raise `RequestError` for options of random sampling together with --beam, and for options of --beam without it."""
    if options.beam is None:
        if options.length_penalty is not None:
            raise RequestError("--length-penalty needs --beam")
        return
    fields = fields_of(Sample)
    drawing = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty", "stop", "match", "stream")
    if named := [fields[name].flag for name in drawing if getattr(options, name) != fields[name].default]:
        raise RequestError(f"--beam searches instead of sampling, so {', '.join(named)} can't be used with it")
    if options.n > options.beam:
        raise RequestError(f"--beam {options.beam} finds at most {options.beam} texts, fewer than -n {options.n}")


def _likeliest(loaded: Loaded[LanguageModel], jobs: Iterable[Job], options: Sample) -> Iterator[Generated]:
    """The results of --beam, in the form of samples."""
    from aigc_cli.backends.transformer.decoding.beam import BeamOptions, beam_search

    assert options.beam is not None
    tokenizer, rules = loaded.tokenizer, loaded.rules()
    penalty = 1.0 if options.length_penalty is None else options.length_penalty
    searched = beam_search(
        loaded.model,
        jobs,
        options=BeamOptions(options.beam, penalty, options.max_tokens),
        rules=rules,
        batch_size=options.batch_size,
        device=loaded.device,
    )
    for number, texts in enumerate(searched):
        for turn, text in enumerate(texts):
            borders = [place for place, token in enumerate(text.ids) if rules.ends_field(token)]
            begins, ends = [0, *(place + 1 for place in borders)], [*borders, len(text.ids)]
            parts = [tokenizer.decode_bytes(text.ids[begin:end]) for begin, end in zip(begins, ends, strict=True)]
            yield Generated(
                index=number * options.n + turn,
                ids=text.ids,
                content=tokenizer.decode_bytes(text.ids),
                finish="end" if text.ended else "length",
                fields=parts,
                log_p=text.log_p,
                score=text.score,
            )


def _constraint(options: Sample, tokenizer: Tokenizer) -> RegexConstraint | None:
    if options.match is None:
        return None
    if options.stop:
        raise RequestError("--match and --stop can't be used together: a text that was cut may no longer match")
    if tokenizer.unk_id is not None:
        raise RequestError("--match: a run trained with --unk can't generate arbitrary text; train one without --unk")
    from aigc_cli.backends.transformer.decoding.regex_constraint import RegexConstraint

    return RegexConstraint(options.match, tokenizer)


class _Streamed:
    """Passes on the text of one sample after another as its bytes arrive, in whole characters."""

    def __init__(self, piece: Callable[[str], None], before: Callable[[int], str]) -> None:
        self.piece, self.before = piece, before
        self.decoders: dict[int, codecs.IncrementalDecoder] = {}

    def take(self, index: int, content: bytes) -> None:
        if index not in self.decoders:
            self.decoders[index] = codecs.getincrementaldecoder("utf-8")("ignore")
            self.piece(self.before(index))
        self.piece(self.decoders[index].decode(content))

    def end(self, index: int) -> None:
        self.take(index, b"")
        self.piece(self.decoders.pop(index).decode(b"", True))
