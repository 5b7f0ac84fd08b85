"""Scrapes: of one process, and of several that share a folder."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import get_args

import pytest
from prometheus_client.parser import text_string_to_metric_families

from app.answer import Answer, AudioInfo, Emotion, ModelName, Timing, Warned, WarningCode
from app.telemetry.metrics import METHODS, Metrics
from app.telemetry.stopwatch import STAGES
from app.web.problems import PREDICT_ERRORS
from tests.support import ROOT


def samples(scraped: bytes) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    families = text_string_to_metric_families(scraped.decode())
    found = [sample for family in families for sample in family.samples]
    by_key = {(sample.name, frozenset(sample.labels.items())): sample.value for sample in found}
    assert len(by_key) == len(found), "no series is shown twice"
    return by_key


def value(scraped: bytes, name: str, **labels: str) -> float:
    return samples(scraped)[name, frozenset(labels.items())]


def labels_of(scraped: bytes, name: str) -> list[Mapping[str, str]]:
    return [dict(labels) for shown, labels in samples(scraped) if shown == name]


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(max_queue=64)


@pytest.fixture
def answer() -> Answer:
    return Answer(
        arousal=3.0,
        valence=None,
        emotion=Emotion(label="sad", probabilities={"sad": 1.0}),
        modalities=["audio"],
        audio=AudioInfo(duration_s=2.5, sample_rate=16000, channels=1),
        model=ModelName(name="starter", version="0.1.0"),
        warnings=[Warned(code="audio_no_speech", detail="There is no speech.")],
        timing_ms=Timing.of_seconds(decode=0.004, queue=0.0005, inference=0.03),
    )


def test_series_of_the_alerts_begin_at_zero(metrics: Metrics) -> None:
    scraped, content_type = metrics.render()
    assert content_type.startswith("text/plain")
    for error in PREDICT_ERRORS:
        assert value(scraped, "maeum_rejected_total", reason=error.code) == 0
        assert value(scraped, "maeum_requests_total", route="/predict", method="POST", status=str(error.status)) == 0
    for code in ("deadline_exceeded", "client_gone", "rate_limited", "uploads_full", "key_unknown"):
        assert value(scraped, "maeum_rejected_total", reason=code) == 0
    for code in get_args(WarningCode):
        assert value(scraped, "maeum_warnings_total", code=code) == 0
    for stage in STAGES:
        assert value(scraped, "maeum_stage_seconds_count", stage=stage) == 0
    assert value(scraped, "maeum_reloads_total", outcome="failed") == 0
    assert value(scraped, "maeum_decoder_restarts_total", reason="died") == 0
    assert value(scraped, "maeum_ready") == 0
    assert value(scraped, "maeum_queue_limit") == 64
    assert not any("settings_invalid" in str(key) for key in samples(scraped)), "what no request can meet"


def test_requests_are_counted_and_timed(metrics: Metrics) -> None:
    metrics.request("/predict", "POST", 200, 0.02)
    metrics.request("/predict", "POST", 200, 0.2)
    metrics.request("unmatched", "BREW", 404, 0.001)
    metrics.rejected("not_found")
    scraped, _ = metrics.render()
    assert value(scraped, "maeum_requests_total", route="/predict", method="POST", status="200") == 2
    assert value(scraped, "maeum_requests_total", route="unmatched", method="OTHER", status="404") == 1
    assert value(scraped, "maeum_request_seconds_sum", route="/predict") == pytest.approx(0.22)
    assert value(scraped, "maeum_request_seconds_bucket", route="/predict", le="0.025") == 1
    assert value(scraped, "maeum_rejected_total", reason="not_found") == 1


def test_methods_that_nobody_knows_make_one_series(metrics: Metrics) -> None:
    for number in range(100):
        metrics.request("unmatched", f"METHOD{number}", 405, 0.001)
    shown = {labels["method"] for labels in labels_of(metrics.render()[0], "maeum_requests_total")}
    assert shown <= METHODS | {"OTHER"}


def test_an_answer_is_counted_by_its_modalities(metrics: Metrics, answer: Answer) -> None:
    metrics.stages({"decode": 0.004, "inference": 0.03})
    metrics.answered(answer)
    metrics.answered(answer.model_copy(update={"modalities": ["audio", "text"], "warnings": []}))
    metrics.answered(answer.model_copy(update={"modalities": ["text"], "audio": None, "warnings": []}))
    metrics.batch(3)
    scraped, _ = metrics.render()
    assert value(scraped, "maeum_audio_seconds_total") == 5.0
    for given in ("audio", "text", "both"):
        assert value(scraped, "maeum_utterances_total", available=given) == 1
    assert value(scraped, "maeum_warnings_total", code="audio_no_speech") == 1
    assert value(scraped, "maeum_stage_seconds_sum", stage="inference") == pytest.approx(0.03)
    assert value(scraped, "maeum_batch_size_bucket", le="4.0") == 1
    assert value(scraped, "maeum_batch_size_bucket", le="2.0") == 0


def test_a_request_given_up_counts_the_stages_it_came_through(metrics: Metrics) -> None:
    metrics.stages({"decoder_queue": 1.0, "decode": 0.01})
    scraped, _ = metrics.render()
    assert [value(scraped, "maeum_stage_seconds_count", stage=stage) for stage in STAGES] == [1, 1, 0, 0]


def test_gauges_show_the_current_values(metrics: Metrics) -> None:
    metrics.waiting(5, 1.5, 2)
    metrics.waiting(3, 0.5, 1, for_decoder=2)
    metrics.uploading(500)
    metrics.ready(True)
    scraped, _ = metrics.render()
    names = ("queue_depth", "queue_age_seconds", "decoding", "decoder_queue_depth", "uploading_bytes", "ready")
    assert [value(scraped, f"maeum_{name}") for name in names] == [3, 0.5, 1, 2, 500, 1]


def test_only_the_model_that_is_served_is_shown(metrics: Metrics) -> None:
    metrics.model("starter", "0.1.0", "int8", "cpu")
    metrics.model("starter", "0.2.0", "int8", "cpu")
    assert [labels["version"] for labels in labels_of(metrics.render()[0], "maeum_model_info")] == ["0.2.0"]
    metrics.model("starter", "0.1.0", "int8", "cpu")
    assert [labels["version"] for labels in labels_of(metrics.render()[0], "maeum_model_info")] == ["0.1.0"]


def test_two_apps_in_one_process_do_not_meet(metrics: Metrics) -> None:
    metrics.rejected("queue_full")
    assert value(Metrics(max_queue=1).render()[0], "maeum_rejected_total", reason="queue_full") == 0


def test_the_process_itself_is_shown(metrics: Metrics) -> None:
    assert value(metrics.render()[0], "process_resident_memory_bytes") > 1e6


WORKER = """
import sys
from app.telemetry.metrics import Metrics
metrics = Metrics(max_queue=10)
version, depth = sys.argv[1], int(sys.argv[2])
metrics.model("starter", "0.0.1", "int8", "cpu")
metrics.model("starter", version, "int8", "cpu")
metrics.waiting(depth, depth / 10, 0)
metrics.ready(depth < 5)
metrics.request("/predict", "POST", 200, 0.02)
metrics.stages({"decode": 0.001})
print("counted", flush=True)
for command in sys.stdin:
    if command == "scrape\\n":
        sys.stdout.buffer.write(metrics.render()[0])
    else:
        metrics.close()
    print("end", flush=True)
"""


class Worker:
    """A process that counts, and answers scrapes."""

    def __init__(self, folder: Path, version: str, depth: int) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", WORKER, version, str(depth)],
            env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(folder)},
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._line() == b"counted\n"

    def _line(self) -> bytes:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def ask(self, command: str) -> bytes:
        assert self.process.stdin is not None
        self.process.stdin.write(command.encode() + b"\n")
        self.process.stdin.flush()
        lines = []
        while (line := self._line()) != b"end\n":
            assert line, "the worker has ended"
            lines.append(line)
        return b"".join(lines)

    def end(self) -> None:
        self.process.communicate(timeout=20)
        assert self.process.returncode == 0


def test_any_of_several_workers_answers_for_all(tmp_path: Path) -> None:
    first, second = Worker(tmp_path, "0.1.0", 2), Worker(tmp_path, "0.2.0", 7)
    for scraped in (first.ask("scrape"), second.ask("scrape")):
        assert value(scraped, "maeum_requests_total", route="/predict", method="POST", status="200") == 2
        assert value(scraped, "maeum_rejected_total", reason="queue_full") == 0
        assert value(scraped, "maeum_stage_seconds_count", stage="decode") == 2
        assert value(scraped, "maeum_queue_depth") == 9 and value(scraped, "maeum_queue_limit") == 20
        assert value(scraped, "maeum_queue_age_seconds") == 0.7
        assert value(scraped, "maeum_ready") == 0, "one of them is not"
        versions = {labels["version"] for labels in labels_of(scraped, "maeum_model_info")}
        assert versions == {"0.1.0", "0.2.0"}, "each serves its own, and none the first"
    second.ask("close")
    second.end()
    scraped = first.ask("scrape")
    assert value(scraped, "maeum_requests_total", route="/predict", method="POST", status="200") == 2, "counts stay"
    assert value(scraped, "maeum_queue_depth") == 2 and value(scraped, "maeum_ready") == 1
    assert [labels["version"] for labels in labels_of(scraped, "maeum_model_info")] == ["0.1.0"]
    first.end()


def test_a_killed_process_shows_nothing_any_more(tmp_path: Path) -> None:
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    start = "from app.telemetry.metrics import Metrics; metrics = Metrics(64); metrics.waiting(3, 1.0, 0)\n"
    killed = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    subprocess.run([sys.executable, "-c", start + killed], env=environment, check=False)
    shown = subprocess.run(
        [sys.executable, "-c", start + "print(metrics.render()[0].decode())"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "maeum_queue_depth 3.0" in shown and "maeum_queue_limit 64.0" in shown
