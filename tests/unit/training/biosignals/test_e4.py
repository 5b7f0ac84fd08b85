"""Every form that a file of the wristband is met in."""

from pathlib import Path

import numpy as np
import pytest

from training.biosignals.completeness import gap_lengths_s
from training.biosignals.e4 import Recording, read_e4
from training.corpora.files import BrokenFileError
from training.corpora.kemdy20_release import Signal, signal_files

FIRST, SECOND = "Sess01_script01_User002M_001", "Sess01_script01_User002M_002"


def read(tmp_path: Path, signal: Signal, *lines: str, encoding: str = "utf-8") -> Recording:
    path = tmp_path / "Sess01_script01_User002M.csv"
    path.write_text("\n".join(lines) + "\n", encoding=encoding)
    return read_e4(path, signal)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp949"])
@pytest.mark.parametrize(
    "times",
    [
        ("1595485894.0", "1595485894.25", "1595485894.5"),
        ("2020-07-23 15:31:34", "2020-07-23 15:31:34.250", "2020-07-23 15:31:34.500000"),
    ],
)
def test_temperature_has_values_times_and_open_utterances(
    tmp_path: Path, times: tuple[str, str, str], encoding: str
) -> None:
    rows = [f"33.1,{times[0]}", f"33.2,{times[1]},{FIRST}", f"33.3,{times[2]},{SECOND}"]
    recording = read(tmp_path, "TEMP", f"{times[0]},,", "4.000000,,", *rows, "", encoding=encoding)
    assert recording.rate_hz == 4
    assert recording.values.tolist() == [33.1, 33.2, 33.3]
    assert (recording.times - recording.times[0]).tolist() == [0, 0.25, 0.5]
    assert recording.segments == ["", FIRST, SECOND]
    assert recording.unreadable_rows == 0


def test_bare_values_are_timed_by_the_rate(tmp_path: Path) -> None:
    recording = read(tmp_path, "EDA", "1595485894.0", "4.0", "0.1", "0.2", "0.3")
    assert recording.times.tolist() == [0, 0.25, 0.5]
    assert recording.segments == ["", "", ""]


@pytest.mark.parametrize("second", ["IBI", "0.000000"])
def test_intervals_below_two_header_rows(tmp_path: Path, second: str) -> None:
    recording = read(tmp_path, "IBI", "1595485894.0", second, "0.8,1595485895.0", f"0.9,1595485895.9,{FIRST}")
    assert recording.rate_hz is None
    assert recording.values.tolist() == [0.8, 0.9]
    assert recording.segments == ["", FIRST]


@pytest.mark.parametrize("header", ["1595485894.0,IBI", "1595485894.0, IBI,,", "1595485894.0"])
def test_intervals_as_the_wristband_exports_them(tmp_path: Path, header: str) -> None:
    rows = ["12.5,0.8,2020-07-23 15:31:46.500", f"13.4,0.9,2020-07-23 15:31:47.400,{FIRST}"]
    recording = read(tmp_path, "IBI", header, *rows)
    assert recording.values.tolist() == [0.8, 0.9]
    assert recording.times.tolist() == [12.5, 13.4]
    assert recording.segments == ["", FIRST]


def test_unreadable_rows_are_counted_and_skipped(tmp_path: Path) -> None:
    recording = read(tmp_path, "TEMP", "0", "4", "33.1,0.0", "lost,0.25", "nan,0.5", "33.2,then", '"33.3,1.0')
    assert recording.values.tolist() == [33.1, 33.3]
    assert recording.unreadable_rows == 3


@pytest.mark.parametrize(
    ("signal", "lines", "why"),
    [
        ("TEMP", ["<html>"], "does not begin with a start time"),
        ("TEMP", ["1595485894.0"], "does not begin with a start time"),
        ("TEMP", ["value,time", "33.1,0"], "does not begin with a start time"),
        ("EDA", ["1595485894.0", "0.0", "33.1"], "the second row is not a sample rate"),
        ("EDA", ["1595485894.0", "33.1,1595485894.0"], "the second row is not a sample rate"),
        ("TEMP", ["1595485894.0", "4.0"], "no samples"),
        ("IBI", ["1595485894.0", "0.8,1595485895.0"], "no samples"),
        ("IBI", ["1595485894.0,IBI", "12.5"], "no samples"),
    ],
)
def test_a_broken_file_is_named_with_its_fault(tmp_path: Path, signal: Signal, lines: list[str], why: str) -> None:
    with pytest.raises(BrokenFileError, match=rf"Sess01_script01_User002M\.csv: {why}"):
        read(tmp_path, signal, *lines)


def test_a_gap_is_a_step_longer_than_a_period_and_a_half(tmp_path: Path) -> None:
    recording = read(tmp_path, "TEMP", "0", "4", "33,0.1", "33,0.35", "33,0.7", "33,2.95", "33,3.2")
    assert gap_lengths_s(recording) == pytest.approx([2.0])


def test_a_clock_of_whole_seconds_makes_no_gaps(tmp_path: Path) -> None:
    seconds = [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 5, 5]
    recording = read(tmp_path, "TEMP", "0", "4", *[f"33,{second}" for second in seconds])
    assert gap_lengths_s(recording) == pytest.approx([2.75])


def test_a_gap_in_intervals_is_what_a_step_has_beyond_its_interval(tmp_path: Path) -> None:
    recording = read(tmp_path, "IBI", "0,IBI", "10.0,0.8", "10.9,0.9", "15.9,1.0", "16.7,0.8")
    assert gap_lengths_s(recording) == pytest.approx([4.0])


def test_a_session_that_has_its_files_twice_is_read_once(tmp_path: Path) -> None:
    original = tmp_path / "EDA" / "Session01" / "Original"
    original.mkdir(parents=True)
    (original / "Sess01_script01_User001F.csv").touch()
    assert signal_files(tmp_path, "EDA") == {1: [original / "Sess01_script01_User001F.csv"]}
    own = original.parent / "Sess01_script01_User001F.csv"
    own.touch()
    assert signal_files(tmp_path, "EDA") == {1: [own]}


@pytest.mark.parametrize("missing", [0, 1, 3])
def test_a_row_without_a_time_among_dated_rows_makes_no_gap(tmp_path: Path, missing: int) -> None:
    rows = [f"33.{index},2020-07-23 15:31:{34 + index // 4:02}.{index % 4 * 25:02}0" for index in range(4)]
    rows[missing] = rows[missing].partition(",")[0]
    recording = read(tmp_path, "TEMP", "1595485894.0", "4.0", *rows)
    assert np.diff(recording.times).tolist() == pytest.approx([0.25] * 3)
    assert gap_lengths_s(recording) == []
