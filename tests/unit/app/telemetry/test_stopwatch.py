"""Times of the stages of one request."""

import time

from app.telemetry.stopwatch import STAGES, Stopwatch


def test_stages_follow_each_other_and_the_last_ends_where_it_is_given_up() -> None:
    watch = Stopwatch()
    began = time.perf_counter()
    for stage in ("decode", "decoder_queue", "decode", "queue"):
        watch.begin(stage)
        time.sleep(0.002)
    watch.stop()
    total = time.perf_counter() - began
    watch.begin("inference")  # a thread that did not know yet
    seconds = watch.seconds()
    assert list(seconds) == [stage for stage in STAGES if stage != "inference"]
    assert seconds["decode"] > 0.004 and seconds["decoder_queue"] > 0.002
    assert sum(seconds.values()) <= total
    time.sleep(0.001)
    assert watch.seconds() == seconds


def test_a_stage_under_way_counts_until_now() -> None:
    watch = Stopwatch()
    assert watch.seconds() == {}
    watch.begin("queue")
    first = watch.seconds()["queue"]
    time.sleep(0.001)
    assert watch.seconds()["queue"] > first
