"""The reader against a synthetic tree that has every irregularity of the corpus."""

import csv
import shutil
from pathlib import Path

import pytest
import soundfile

from tests.support.synthetic_kemdy20 import Tree, write_tree
from training.corpora.kemdy20 import in_fold, read_kemdy20
from training.corpora.kemdy20_annotation import Choices
from training.corpora.tally import CorpusError, Report
from training.data.utterance import Utterance


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Tree:
    return write_tree(tmp_path_factory.mktemp("corpus"))


def read(root: Path, choices: Choices = Choices()) -> tuple[dict[str, Utterance], Report]:  # noqa: B008
    report = Report()
    return {utterance.id: utterance for utterance in read_kemdy20(root, report, choices)}, report


def test_every_whole_utterance_of_the_five_classes_is_read(tree: Tree) -> None:
    utterances, _ = read(tree.root)
    labelled = tree.labelled("neutral", "happy", "sad", "angry", "surprise")
    assert set(utterances) == set(labelled) - set(tree.without_files)
    assert all(utterances[id_].emotion == tree.labels[id_] for id_ in utterances)


def test_an_utterance_has_all_that_the_corpus_says(tree: Tree) -> None:
    utterances, _ = read(tree.root)
    id_ = next(id_ for id_ in tree.labelled("angry") if id_.startswith("Sess09"))
    utterance = utterances[id_]
    assert (utterance.session, utterance.fold, utterance.split) == ("Sess09", 1, "validation")
    assert utterance.speaker == id_.split("_")[2]
    assert utterance.gender == ("female" if utterance.speaker.endswith("F") else "male")
    assert utterance.audio == tree.root / "wav" / "Session09" / f"{id_}.wav"
    assert (utterance.raw_transcript, utterance.transcript) == (
        "진짜+ 화가 나서 N/ 짜증났어요.",
        "진짜 화가 나서 짜증났어요.",
    )
    assert utterance.votes == {"angry": 0.7, "neutral": 0.3}
    assert utterance.valence == pytest.approx(2.2, abs=0.5)
    assert utterance.arousal == pytest.approx(3.6, abs=0.5)
    assert utterance.duration_s == pytest.approx(0.4, abs=0.15)


def test_every_problem_is_named(tree: Tree) -> None:
    utterances, report = read(tree.root)
    undecodable = report.problems.pop("undecodable")
    assert report.problems == {
        "missing wav": tree.missing_wav,
        "missing text": tree.missing_text,
        "annotation without files": tree.without_files,
        "files without annotation": tree.without_annotation,
    }
    assert len(undecodable) == 2
    assert f"{tree.broken_wav[0]}.wav" in undecodable[0]
    assert f"{tree.broken_text[0]}.txt: neither UTF-8 nor cp949" in undecodable[1]
    # The rest of a broken utterance is kept.
    for id_ in (*tree.missing_wav, *tree.broken_wav):
        assert utterances[id_].audio is None
        assert utterances[id_].transcript
    for id_ in (*tree.missing_text, *tree.broken_text):
        assert utterances[id_].audio is not None
        assert utterances[id_].transcript is None


def test_a_transcript_of_tags_alone_is_none(tree: Tree) -> None:
    utterances, report = read(tree.root)
    assert utterances[tree.tags_alone[0]].transcript is None
    assert utterances[tree.tags_alone[0]].raw_transcript == "c/ n/ b/"
    assert report.left_out_names["transcript of tags alone"] == tree.tags_alone


def test_each_file_may_have_its_own_encoding(tmp_path: Path) -> None:
    tree = write_tree(tmp_path, sessions=(1, 2, 3), utterances_per_session=5, quirks=False)
    texts = [next((tree.root / "wav" / f"Session0{session}").glob("*.txt")).read_bytes() for session in (1, 2, 3)]
    assert texts[2].startswith(b"\xef\xbb\xbf")
    with pytest.raises(UnicodeDecodeError):
        texts[1].decode("utf-8")
    utterances, report = read(tree.root)
    assert len({(utterance.emotion, utterance.transcript) for utterance in utterances.values()}) == 5
    assert not report.problems


def test_session_17_is_found_under_its_own_number(tree: Tree) -> None:
    annotation = next((tree.root / "annotation").glob("Sess17*")).read_bytes()
    assert b"Sess42_" in annotation
    assert b"Sess17_" not in annotation
    utterances, _ = read(tree.root)
    ours = [utterance for utterance in utterances.values() if utterance.session == "Sess17"]
    assert len(ours) == 17
    assert all(utterance.id.startswith("Sess17_") and utterance.audio for utterance in ours)


def test_ties_are_dropped_and_named(tree: Tree) -> None:
    utterances, report = read(tree.root)
    assert report.left_out_names["tie"] == tree.ties
    assert utterances.keys().isdisjoint(tree.ties)


def test_ties_take_the_first_emotion(tree: Tree) -> None:
    utterances, report = read(tree.root, Choices(ties="first"))
    assert {utterances[id_].emotion for id_ in tree.ties} == {"happy"}
    assert "tie" not in report.left_out


def test_soft_ties_have_votes_instead_of_an_emotion(tree: Tree) -> None:
    utterances, _ = read(tree.root, Choices(ties="soft"))
    for id_ in tree.ties:
        assert utterances[id_].emotion is None
        assert utterances[id_].votes == {"happy": 0.5, "neutral": 0.5}


def test_fear_and_disgust_are_left_out_of_five_classes_and_kept_in_seven(tree: Tree) -> None:
    _, report = read(tree.root)
    assert report.left_out_names["class fear"] == tree.labelled("fear")
    assert report.left_out_names["class disgust"] == tree.labelled("disqust")
    seven, report = read(tree.root, Choices(classes=7))
    assert {seven[id_].emotion for id_ in tree.labelled("disqust")} == {"disgust"}
    assert {seven[id_].emotion for id_ in tree.labelled("fear")} == {"fear"}
    assert not [kind for kind in report.left_out if kind.startswith("class")]


def test_no_speaker_is_in_two_splits(tmp_path: Path) -> None:
    tree = write_tree(tmp_path, sessions=range(1, 41), utterances_per_session=5, quirks=False, duration_s=0.05)
    utterances = list(read(tree.root)[0].values())
    assert len({utterance.speaker for utterance in utterances}) == 80
    for fold in range(5):
        splits: dict[str | None, set[str]] = {}
        for utterance in (in_fold(utterance, fold) for utterance in utterances):
            splits.setdefault(utterance.speaker, set()).add(utterance.split)
        assert all(len(seen) == 1 for seen in splits.values())
        assert set().union(*splits.values()) == {"train", "validation", "test"}


def test_the_folder_above_the_release_will_do(tree: Tree) -> None:
    assert read(tree.root.parent)[0] == read(tree.root)[0]


def test_another_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="is not KEMDy20: it needs all of the folders annotation, wav"):
        read(tmp_path)


def test_of_several_releases_one_must_be_named(tmp_path: Path) -> None:
    for release in ("KEMDy20_v1_1", "KEMDy20_v1_3"):
        (tmp_path / release / "annotation").mkdir(parents=True)
        (tmp_path / release / "wav").mkdir()
    with pytest.raises(CorpusError, match=r"several releases.*v1_1.*v1_3"):
        read(tmp_path)


@pytest.fixture
def small(tmp_path: Path) -> Tree:
    return write_tree(tmp_path, sessions=(1,), utterances_per_session=5, quirks=False)


def edit_annotation(tree: Tree, row: int, column: int, value: str) -> None:
    """Sets one cell; the first utterance is row 2."""
    path = tree.root / "annotation" / "Sess01_eval.csv"
    rows = list(csv.reader(path.read_text(encoding="cp949").splitlines()))
    rows[row][column] = value
    with path.open("w", encoding="cp949", newline="") as file:
        csv.writer(file).writerows(rows)


def test_a_session_without_annotation_is_named_file_by_file(small: Tree) -> None:
    (small.root / "annotation" / "Sess01_eval.csv").unlink()
    utterances, report = read(small.root)
    assert not utterances
    assert report.problems == {"files without annotation": sorted(small.labels)}


def test_a_session_without_recordings_is_named_row_by_row(small: Tree) -> None:
    shutil.rmtree(small.root / "wav" / "Session01")
    utterances, report = read(small.root)
    assert not utterances
    assert report.problems == {"annotation without files": list(small.labels)}


def test_an_undecodable_annotation_is_named(small: Tree) -> None:
    path = small.root / "annotation" / "Sess01_eval.csv"
    path.write_bytes(path.read_bytes() + b"\xff\xff")
    _, report = read(small.root)
    assert report.problems["undecodable"] == [f"{path}: neither UTF-8 nor cp949"]


def test_an_unknown_label_is_named_and_not_half_believed(small: Tree) -> None:
    edit_annotation(small, 2, 4, "happy;bored")
    utterances, report = read(small.root, Choices(ties="first"))
    first = next(iter(small.labels))
    assert first not in utterances
    assert report.problems["unknown label"] == [f"{first}: bored"]


@pytest.mark.parametrize(
    ("spelling", "emotion"), [("anger", "angry"), ("Sadness ", "sad"), ("happiness;happy", "happy")]
)
def test_other_spellings_of_labels(small: Tree, spelling: str, emotion: str) -> None:
    edit_annotation(small, 2, 4, spelling)
    utterances, _ = read(small.root)
    assert utterances[next(iter(small.labels))].emotion == emotion


@pytest.mark.parametrize("value", ["", "nan", "0.9", "5.1", "many"])
def test_a_mean_that_is_not_1_to_5_is_named_and_null(small: Tree, value: str) -> None:
    edit_annotation(small, 2, 6, value)
    utterances, report = read(small.root)
    first = next(iter(small.labels))
    assert utterances[first].arousal is None
    assert utterances[first].valence is not None
    assert report.problems["arousal not 1 to 5"] == [f"{first}: {value!r}"]


def test_a_row_that_is_no_segment_and_a_row_given_twice_are_named(small: Tree) -> None:
    first, second, *_ = small.labels
    edit_annotation(small, 3, 3, first)
    edit_annotation(small, 4, 3, "Sess01")
    _, report = read(small.root)
    assert report.problems["annotated twice"] == [first]
    assert report.problems["unreadable annotation"] == [f"{small.root}/annotation/Sess01_eval.csv, row 5"]
    assert second in report.problems["files without annotation"]


def test_a_wav_without_samples_is_named(small: Tree) -> None:
    first = next(iter(small.labels))
    soundfile.write(small.root / "wav" / "Session01" / f"{first}.wav", [], 16_000)
    _, report = read(small.root)
    assert f"{first}.wav: The file has no audio samples" in report.problems["undecodable"][0]


def test_files_of_the_machine_are_not_utterances(small: Tree) -> None:
    for name in (".DS_Store", "._Sess01_script01_User001F_001.wav", "Thumbs.db"):
        (small.root / "wav" / "Session01" / name).write_bytes(b"")
    assert not read(small.root)[1].problems
