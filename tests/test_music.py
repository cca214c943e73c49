"""Music: MIDI files as texts of events, and back."""

from __future__ import annotations

import json
import random
import re
import shutil
from pathlib import Path

import pytest
from conftest import Shell
from symusic import Note, Score, Tempo, TimeSignature, Track

from aigc_cli.data.music.events import BAR, Notation, joined
from aigc_cli.data.music.kind import Music
from aigc_cli.data.music.roll import piano_roll

TICKS = 480
TINY = ("--preset", "nano", "--context", "64", "--batch-size", "2", "--threads", "1")


def piece(
    seed: int,
    *,
    bars: int = 4,
    programs: tuple[int, ...] = (0,),
    velocities: tuple[int, ...] = (80,),
    tempo: float = 100,
    beats: int = 4,
) -> Score:
    """Quarters and eighths of a scale."""
    draw = random.Random(seed)
    score = Score(TICKS)
    for number, program in enumerate(programs):
        track = Track(program=max(program, 0), is_drum=program < 0)
        for beat in range(bars * beats):
            pitch = 60 - 12 * number + draw.choice((0, 2, 4, 5, 7))
            track.notes.append(Note(beat * TICKS, draw.choice((TICKS, TICKS // 2)), pitch, draw.choice(velocities)))
        score.tracks.append(track)
    score.tempos.append(Tempo(0, tempo))
    score.time_signatures.append(TimeSignature(0, beats, 4))
    return score


def notes(score: Score) -> list[tuple[float, float, int]]:
    """(onset, duration, pitch) in quarter notes."""
    found = [(note.time / score.tpq, note.duration / score.tpq, note.pitch) for track in score.tracks for note in track.notes]
    return sorted(found)


@pytest.mark.parametrize(
    "score",
    [
        piece(0),
        piece(1, programs=(0, 0, 0)),
        piece(2, programs=(0, 33), velocities=(40, 120)),
        piece(3, programs=(-1, 33), beats=3),
        piece(4, programs=(-1,)),
        piece(5, beats=3, tempo=70),
    ],
)
def test_a_piece_is_the_same_after_the_way_to_events_and_back(score: Score) -> None:
    notation = Notation.of([score])
    text = notation.write(score)
    again = notation.read(text)
    assert notes(again) == notes(score)
    assert text.count(BAR) == 4
    assert {(track.program, track.is_drum) for track in again.tracks} == {
        (track.program, track.is_drum) for track in score.tracks
    }
    assert again.tempos[0].qpm == pytest.approx(score.tempos[0].qpm, rel=0.01)
    assert again.time_signatures[0].numerator == score.time_signatures[0].numerator
    assert Notation.from_json(json.loads(json.dumps(notation.to_json()))) == notation


def test_only_what_differs_is_an_event() -> None:
    plain = Notation.of([piece(0), piece(1)])
    assert not (plain.velocities or plain.programs or plain.tempos or plain.time_signatures)
    assert plain.tempo == 100
    rich = Notation.of([piece(0, programs=(0, 33), velocities=(40, 120)), piece(1, tempo=60, beats=3)])
    assert rich.velocities and rich.programs and rich.tempos and rich.time_signatures


def test_a_piece_is_learned_in_every_key_within_the_range_of_all() -> None:
    wide, narrow = piece(0, programs=(0, 0)), piece(1)
    notation = Notation.of([wide, narrow])
    text = notation.write(narrow)
    variants = list(notation.transposed(text))
    assert variants[0] == text
    low, high = min(pitch for _, _, pitch in notes(narrow)), max(pitch for _, _, pitch in notes(narrow))
    expected = [by for by in range(-5, 7) if by and notation.low <= low + by and high + by <= notation.high]
    shifts = []
    for variant in variants[1:]:
        moved, own = notes(notation.read(variant)), notes(narrow)
        assert [of[:2] for of in moved] == [of[:2] for of in own]
        (by,) = {new - old for (_, _, new), (_, _, old) in zip(moved, own, strict=True)}
        shifts.append(by)
    assert shifts == expected and expected
    drums = piece(2, programs=(-1,))
    of_drums = Notation.of([drums])
    assert list(of_drums.transposed(of_drums.write(drums))) == [of_drums.write(drums)]


def test_whatever_events_come_the_file_is_whole() -> None:
    notation = Notation.of([piece(0, programs=(0, 33), velocities=(40, 120)), piece(1, tempo=60, beats=3)])
    music, draw = Music(notation), random.Random(0)
    characters = [BAR, "x", *(chr(0xE000 + number) for number in range(len(notation.tokens)))]
    for _ in range(50):
        text = "".join(draw.choices(characters, k=draw.randint(0, 200)))
        again = Score.from_midi(music.encode(text, ".mid"))
        assert again.note_num() == notation.read(text).note_num()
        assert all(note.duration > 0 for track in again.tracks for note in track.notes)


def test_pieces_follow_one_another_and_are_drawn() -> None:
    first, second = piece(0), piece(1, programs=(33,))
    whole = joined([first, second])
    assert whole.note_num() == first.note_num() + second.note_num()
    assert {track.program for track in whole.tracks} == {0, 33}
    starts = [note.time for track in whole.tracks if track.program == 33 for note in track.notes]
    assert min(starts) == first.end() + 2 * TICKS
    roll = piano_roll(first)
    assert roll.dtype == "uint8" and roll.shape[2] == 1 and (roll < 255).any()


def test_a_folder_of_midi_files_is_learned_sampled_continued_and_measured(shell: Shell) -> None:
    folder = shell.cwd / "pieces"
    folder.mkdir()
    for number in range(24):
        piece(number, bars=4 + number % 3).dump_midi(folder / f"{number:02}.mid")
    (folder / "broken.mid").write_bytes(b"MThd and nothing else")
    trained = shell("train", "transformer", "--data", "pieces", "--steps", "12", "--run", "one", *TINY)
    assert trained.returncode == 0, trained.stderr
    assert "an event is a token: bar, position, pitch, duration" in trained.stderr
    assert re.search(r"2\d training pieces, in every key within the range of all: \d{2,}", trained.stderr)
    assert "skipped 1 file that cannot be read: broken.mid (it is truncated or damaged)" in trained.stderr
    assert "empty text" not in trained.stderr
    record = json.loads((shell.cwd / "runs/transformer/one/run.json").read_text())
    assert record["data"]["kind"] == "music"
    assert list((shell.cwd / "runs/transformer/one/samples").glob("*.png"))

    lines = [
        json.loads(line)
        for line in shell.ok("sample", "transformer", "-n", "3", "--seed", "1", "--max-tokens", "60", "--json").splitlines()
    ]
    assert [Path(line["path"]).name for line in lines] == [f"seed-1-{number:06}.mid" for number in range(3)]
    assert "text" not in lines[0] and {"bars", "notes", "seconds"} <= lines[0].keys()
    for line in lines:
        assert Score.from_file(shell.cwd / line["path"]).note_num() == line["notes"]

    shell.ok("sample", "transformer", "--prompt", "pieces/00.mid", "--max-tokens", "30", "--seed", "2", "--out", "longer.mid")
    start, longer = notes(Score.from_file(folder / "00.mid")), notes(Score.from_file(shell.cwd / "longer.mid"))
    assert longer[: len(start) - 1] == start[:-1]
    wrong = shell("sample", "transformer", "--prompt", "la la", "--out", "other.mid")
    assert wrong.returncode == 2 and "goes on from a MIDI file" in wrong.stderr

    measured = json.loads(shell.ok("eval", "transformer", "-n", "4", "--json"))
    assert {"nats_per_event", "nats_per_beat", "valid", "copied_bars"} <= measured.keys()
    assert not any(name.startswith("bits_per") for name in measured)
    assert measured["nats_per_event"]["baseline"]["unit"] == "nats/event"
    assert measured["valid"]["human"]["value"] == 1

    resumed = shell("train", "transformer", "--run", "one", "--resume", "--steps", "20")
    assert resumed.returncode == 0, resumed.stderr
    again = json.loads(shell.ok("eval", "transformer", "--data", "pieces/01.mid", "-n", "0", "--json"))
    assert again["nats_per_event"]["n"] == 1


def test_what_is_for_texts_is_refused(shell: Shell) -> None:
    folder = shell.cwd / "pieces"
    folder.mkdir()
    for number in range(4):
        piece(number).dump_midi(folder / f"{number}.mid")
    refused = shell("train", "transformer", "--data", "pieces", "--tokenizer", "bpe")
    assert refused.returncode == 2
    assert "--tokenizer: only for texts, and " in refused.stderr and "pieces holds music" in refused.stderr
    of_gan = shell("train", "gan", "--data", "pieces")
    assert of_gan.returncode == 2 and "'aigc train transformer' learns from music" in of_gan.stderr
    for path in folder.iterdir():
        path.write_bytes(b"MThd")
    damaged = shell("train", "transformer", "--data", "pieces")
    assert damaged.returncode == 2 and "pieces: there are no notes" in damaged.stderr


@pytest.mark.skipif(shutil.which("fluidsynth") is None, reason="FluidSynth is not installed")
def test_fluidsynth_plays_a_piece() -> None:
    score = piece(0)
    notation = Notation.of([score])
    sound = Music(notation).encode(notation.write(score), ".wav")
    assert sound[:4] == b"RIFF" and len(sound) > 44_100 * 4 * score.to("second").end()
