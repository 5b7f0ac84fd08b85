"""A synthetic copy of KEMDy20: its folders, columns, encodings and irregularities, with synthesised clips.

Loudness and pitch follow the arousal of the label, the transcript follows its valence: a model can learn from them.
"""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import soundfile

SAMPLE_RATE = 16_000
ENCODINGS = ("utf-8", "cp949", "utf-8-sig")
RATERS = ("01F", "02M", "03M", "04F", "05M", "06F", "07F", "08M", "09F", "10M")

# By label: arousal, valence, transcript.
EMOTIONS = {
    "neutral": (3.2, 3.0, "그래서 c/ 저는 학교에 갔어요."),
    "happy": (3.6, 3.8, "정말 행복하고 l/ 즐거웠어요!"),
    "sad": (2.9, 2.5, "너무 b/ 슬프고 힘들었어요 n/"),
    "angry": (3.6, 2.2, "진짜+ 화가 나서 N/ 짜증났어요."),
    "surprise": (3.4, 3.1, "어머/ 깜짝* 놀랐어요?"),
    "fear": (3.4, 2.3, "밤에 혼자 u/ 무서웠어요."),
    "disqust": (3.3, 2.2, "냄새가 역겨웠어요 c/ 정말."),
}
FIVE = ("neutral", "happy", "sad", "angry", "surprise")


@dataclass
class Tree:
    """The written tree: its root, the label of every annotated utterance by its id on disk, and the broken files."""

    root: Path
    labels: dict[str, str] = field(default_factory=dict)
    missing_wav: list[str] = field(default_factory=list)
    missing_text: list[str] = field(default_factory=list)
    without_files: list[str] = field(default_factory=list)
    without_annotation: list[str] = field(default_factory=list)
    broken_wav: list[str] = field(default_factory=list)
    broken_text: list[str] = field(default_factory=list)
    tags_alone: list[str] = field(default_factory=list)
    broken_biosignals: list[Path] = field(default_factory=list)

    @property
    def ties(self) -> list[str]:
        """The utterances on which the raters are divided."""
        return [id_ for id_, label in self.labels.items() if ";" in label]

    def labelled(self, *names: str) -> list[str]:
        """The utterances annotated with exactly one of `names`."""
        return [id_ for id_, label in self.labels.items() if label in names]


def write_tree(
    folder: Path,
    sessions: Sequence[int] = (1, 9, 17, 25),
    utterances_per_session: int = 20,
    seed: int = 0,
    *,
    quirks: bool = True,
    biosignals: bool = False,
    duration_s: float = 0.4,
    labels: Mapping[int, Sequence[str]] | None = None,
) -> Tree:
    """Writes `folder`/KEMDy20_v1_1. With `quirks` every session has a tie, a fear and a disqust, and the first session
    the broken and missing files, which takes at least 12 utterances a session; without, five clean classes in turn.
    The default sessions are in four folds: where fold 0 is tested, 1 tests, 9 validates, 17 and 25 train. With
    `biosignals` the second session lacks EDA, every other one has its files under Original/ and IBI as the wristband
    exports it, every third one has dates for times, and with `quirks` the first file of TEMP is no table. `labels` are
    those of each session's utterances, and go without quirks."""
    quirks = quirks and labels is None
    if quirks and utterances_per_session < 12:
        raise ValueError("the irregularities need at least 12 utterances a session")
    rng = np.random.default_rng(seed)
    tree = Tree(folder / "KEMDy20_v1_1")
    (tree.root / "annotation").mkdir(parents=True)
    for position, session in enumerate(sessions):
        recordings = tree.root / "wav" / f"Session{session:02}"
        recordings.mkdir(parents=True)
        rows = []
        given = None if labels is None else labels[session]
        count = utterances_per_session if given is None else len(given)
        ids = [_segment_id(session, number, count) for number in range(count)]
        for number, id_ in enumerate(ids):
            label = given[number] if given else _label(number) if quirks else FIVE[number % 5]
            tree.labels[id_] = label
            emotions = label.split(";")
            arousal, valence, transcript = EMOTIONS[emotions[0]]
            _write_clip(recordings / f"{id_}.wav", arousal, valence, duration_s * rng.uniform(0.7, 1.3), rng)
            (recordings / f"{id_}.txt").write_bytes(f"{transcript}\n".encode(ENCODINGS[position % 3]))
            rows.append(_annotation_row(number, id_, emotions, arousal, valence, rng))
        if quirks and position == 0:
            _break(tree, recordings, ids)
        if session == 17:  # the real file has another session's number in its ids
            rows = [[*row[:3], row[3].replace("Sess17", "Sess42"), *row[4:]] for row in rows]
        _write_annotation(tree.root / "annotation" / f"Sess{session:02}_eval.csv", rows, ENCODINGS[(position + 1) % 3])
        if biosignals:
            _write_biosignals(tree.root, session, ids, rng, position)
            if quirks and position == 0:
                broken = min((tree.root / "TEMP" / f"Session{session:02}").iterdir())
                broken.write_text("<html>not a table</html>\n", encoding="utf-8")
                tree.broken_biosignals.append(broken)
    return tree


def _segment_id(session: int, number: int, count: int) -> str:
    """Speakers alternate, as in a talk: 2n - 1 is a woman and 2n a man in session n."""
    user = f"{2 * session - 1:03}F" if number % 2 == 0 else f"{2 * session:03}M"
    return f"Sess{session:02}_script{1 + number * 6 // count:02}_User{user}_{1 + number:03}"


def _label(number: int) -> str:
    return {0: "happy;neutral", 1: "disqust", 2: "fear"}.get(number, FIVE[number % 5])


def _break(tree: Tree, recordings: Path, ids: list[str]) -> None:
    """Breaks one utterance in each way that occurs in the corpus, from the fourth on."""
    wavs = {id_: recordings / f"{id_}.wav" for id_ in ids}
    txts = {id_: recordings / f"{id_}.txt" for id_ in ids}
    no_wav, no_text, no_files, bad_wav, bad_text, tags = ids[3:9]
    wavs[no_wav].unlink()
    txts[no_text].unlink()
    wavs[no_files].unlink()
    txts[no_files].unlink()
    wavs[bad_wav].write_bytes(b"RIFF\x00\x00\x00\x00 not a wave")
    txts[bad_text].write_bytes(b"\xff\xfe\xff\x80")
    txts[tags].write_text("c/ n/ b/\n", encoding="utf-8")
    extra = f"{ids[0][:-3]}999"
    (recordings / f"{extra}.txt").write_text("주석이 없는 발화.\n", encoding="utf-8")
    tree.missing_wav.append(no_wav)
    tree.missing_text.append(no_text)
    tree.without_files.append(no_files)
    tree.broken_wav.append(bad_wav)
    tree.broken_text.append(bad_text)
    tree.tags_alone.append(tags)
    tree.without_annotation.append(extra)


def _write_clip(path: Path, arousal: float, valence: float, seconds: float, rng: np.random.Generator) -> None:
    """A glottal-like sum of harmonics over noise: higher and louder with arousal, rising with valence."""
    time = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    pitch = 120 + 80 * (arousal - 2.5) + 40 * (valence - 3) * time / seconds + rng.normal(0, 5)
    phase = 2 * np.pi * np.cumsum(pitch) / SAMPLE_RATE
    harmonics = sum(np.sin(harmonic * phase) / harmonic for harmonic in range(1, 9))
    envelope = np.sin(np.pi * np.minimum(1, time * 20) / 2) * (0.6 + 0.4 * np.sin(2 * np.pi * 4 * time))
    wave = 0.05 * 2 ** (2 * (arousal - 2.5)) * envelope * harmonics + rng.normal(0, 0.002, len(time))
    soundfile.write(path, np.clip(wave, -1, 1), SAMPLE_RATE, subtype="PCM_16")


def _annotation_row(
    number: int, id_: str, emotions: list[str], arousal: float, valence: float, rng: np.random.Generator
) -> list[str]:
    """The ten raters are divided evenly over a tie, else three of them vote neutral; the row has their means."""
    votes = [emotions[rater % len(emotions)] if len(emotions) > 1 else emotions[0] for rater in range(10)]
    if len(emotions) == 1:
        votes[7:] = ["neutral"] * 3
    valences = np.clip(np.rint(rng.normal(valence, 0.4, 10)), 1, 5).astype(int)
    arousals = np.clip(np.rint(rng.normal(arousal, 0.4, 10)), 1, 5).astype(int)
    start = 5.0 * number
    row = [str(number + 1), f"{start:.3f}", f"{start + 2:.3f}", id_, ";".join(emotions)]
    row += [f"{valences.mean():.2f}", f"{arousals.mean():.2f}"]
    for emotion, rater_valence, rater_arousal in zip(votes, valences, arousals, strict=True):
        row += [emotion, str(rater_valence), str(rater_arousal)]
    return row


def _write_annotation(path: Path, rows: list[list[str]], encoding: str) -> None:
    first = ["Numb", "WAV", "", "Segment ID", "Total Evaluation", " ", " "]
    second = [" ", "start", "end", " ", "Emotion", "Valence", "Arousal"]
    for rater in RATERS:
        first += [f"Eval{rater}", " ", "Unnamed: 9"]
        second += ["Emotion", "Valence", "Arousal"]
    with path.open("w", encoding=encoding, newline="") as file:
        csv.writer(file).writerows([first, second, *rows])


def _write_biosignals(root: Path, session: int, ids: list[str], rng: np.random.Generator, position: int) -> None:
    """Empatica E4 files, one a speaker and script, 24 samples an utterance of which 16 are marked with it.

    They begin with start time and sample rate; then `value,time[,segment id]`, or `offset,interval,time[,segment id]`
    below one header row where IBI is as exported. Now and then 8 s of IBI are lost.
    """
    recordings: dict[str, list[str]] = {}
    for id_ in ids:
        recordings.setdefault(id_.rpartition("_")[0], []).append(id_)
    for kind, level, spread, rate in (("EDA", 0.8, 0.05, 4), ("TEMP", 33.0, 0.03, 4), ("IBI", 0.8, 0.05, None)):
        if kind == "EDA" and position == 1:
            continue
        folder = root / kind / f"Session{session:02}" / ("Original" if position % 2 else "")
        folder.mkdir(parents=True)
        exported = rate is None and position % 2 == 1
        for name, segments in recordings.items():
            start = 1_600_000_000.0 + 3600 * session
            lines = [f"{start:.6f},IBI"] if exported else [f"{start:.6f}", "IBI" if rate is None else f"{rate:.6f}"]
            value, time = level, start
            for segment in (*segments, ""):
                for step in range(24):
                    value += rng.normal(0, spread) - 0.1 * (value - level)
                    gap = kind == "IBI" and rng.random() < 0.1
                    time += 1 / rate if rate else value + (8.0 if gap else 0.0)
                    cells = [f"{time - start:.6f}"] if exported else []
                    cells += [f"{value:.3f}", _clock(time) if position % 3 == 2 else f"{time:.3f}"]
                    in_segment = segment and 4 <= step < 20
                    lines.append(",".join([*cells, segment] if in_segment else cells))
            (folder / f"{name}.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _clock(time: float) -> str:
    return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")
