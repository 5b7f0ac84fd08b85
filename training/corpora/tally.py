"""The report of a preparation: utterances, problems and omissions, counted and named while the corpus is read."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import get_args

from ..data.utterance import Split, Utterance

MAX_SESSIONS_LISTED = 200
"""More sessions than this are films, not recordings: only their number is reported."""
NAMES_IN_SUMMARY = 3


class CorpusError(Exception):
    """A corpus that cannot be read at all: the wrong folder, a missing or broken index. The message names the file."""


class Report:
    """Collects the counts and names that become `report.json`.

    A problem is an error on disk, and makes `--strict` fail. Something left out is intact, but excluded by the choices
    of this preparation: a tie, a class that is not wanted, a duplicate.
    """

    def __init__(self) -> None:
        self.utterances = 0
        self.duration_s = 0.0
        self.problems: defaultdict[str, list[str]] = defaultdict(list)
        self.left_out: Counter[str] = Counter()
        self.left_out_names: defaultdict[str, list[str]] = defaultdict(list)
        self._counts: defaultdict[str, Counter[tuple[str, str]]] = defaultdict(Counter)
        self._sessions: defaultdict[str, Counter[str]] = defaultdict(Counter)

    def problem(self, kind: str, name: str) -> None:
        """Records a problem with `name`: a file, an utterance, a line."""
        self.problems[kind].append(name)

    def leave_out(self, kind: str, name: str | None = None) -> None:
        """Records something left out by choice; without a name it is only counted."""
        self.left_out[kind] += 1
        if name is not None:
            self.left_out_names[kind].append(name)

    def counted(self, utterances: Iterable[Utterance]) -> Iterator[Utterance]:
        """Passes the utterances on and counts them."""
        for utterance in utterances:
            self.utterances += 1
            self.duration_s += utterance.duration_s or 0.0
            self._counts[utterance.corpus][utterance.split, utterance.emotion or "none"] += 1
            if utterance.session is not None:
                self._sessions[utterance.corpus][utterance.session] += 1
            yield utterance

    def as_json(self) -> dict[str, object]:
        """The whole report; durations in seconds."""
        return {
            "utterances": self.utterances,
            "duration_s": round(self.duration_s, 1),
            "by_split": dict(self._by_split()),
            "by_emotion": dict(self._by_emotion()),
            "corpora": {corpus: self._corpus(corpus) for corpus in self._counts},
            "problems": {kind: {"count": len(names), "names": names} for kind, names in sorted(self.problems.items())},
            "left_out": {
                kind: {"count": count, "names": self.left_out_names.get(kind, [])}
                for kind, count in sorted(self.left_out.items())
            },
        }

    def summary(self) -> str:
        """A few lines for the terminal: utterances, problems with their first names, and what was left out."""
        lines = [f"{self.utterances:,} utterances, {self.duration_s / 60:,.1f} min of speech"]
        for corpus in self._counts:
            for split, emotions in self._by_split_and_emotion(corpus).items():
                inside = ", ".join(f"{emotion} {count:,}" for emotion, count in sorted(emotions.items()))
                lines.append(f"  {corpus} {split}: {sum(emotions.values()):,} ({inside})")
        counts = self._by_split()
        lines += [f"  note: nothing in {split}" for split in get_args(Split) if self.utterances and not counts[split]]
        lines += self.problem_lines()
        lines += [f"  left out: {kind}: {count:,}" for kind, count in sorted(self.left_out.items())]
        return "\n".join(lines)

    def problem_lines(self) -> Iterator[str]:
        """A line per kind of problem, with its first names."""
        for kind, names in sorted(self.problems.items()):
            shown = ", ".join(names[:NAMES_IN_SUMMARY]) + (", ..." if len(names) > NAMES_IN_SUMMARY else "")
            yield f"  problem: {kind}: {len(names):,} ({shown})"

    def _by_split(self) -> Counter[str]:
        counts: Counter[str] = Counter()
        for by_split_and_emotion in self._counts.values():
            for (split, _), count in by_split_and_emotion.items():
                counts[split] += count
        return counts

    def _by_emotion(self) -> Counter[str]:
        counts: Counter[str] = Counter()
        for by_split_and_emotion in self._counts.values():
            for (_, emotion), count in by_split_and_emotion.items():
                counts[emotion] += count
        return counts

    def _by_split_and_emotion(self, corpus: str) -> dict[str, dict[str, int]]:
        table: dict[str, dict[str, int]] = {}
        for (split, emotion), count in sorted(self._counts[corpus].items()):
            table.setdefault(split, {})[emotion] = count
        return table

    def _corpus(self, corpus: str) -> dict[str, object]:
        sessions = self._sessions[corpus]
        listed = dict(sorted(sessions.items())) if len(sessions) <= MAX_SESSIONS_LISTED else {}
        return {
            "utterances": sum(self._counts[corpus].values()),
            "by_split_and_emotion": self._by_split_and_emotion(corpus),
            "sessions": len(sessions),
            "by_session": listed,
        }


def require_file(path: Path, what: str) -> Path:
    """`path`, if it is a file. Else raises CorpusError, which says `what` it should be."""
    if not path.is_file():
        raise CorpusError(f"{path}, {what}, is not there")
    return path
