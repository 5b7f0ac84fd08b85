"""The model's life in a service, without HTTP."""

import asyncio
import gc
import io
import os
import re
import shutil
import signal
import statistics
import threading
import time
import weakref
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import app.service
from app.answer import Answer
from app.engine.engine import Prediction
from app.engine.load import Model, load_model
from app.errors import ChannelMissing, QueueFull
from app.service import Service
from app.settings import Settings
from app.telemetry.metrics import Metrics
from app.telemetry.stopwatch import Stopwatch
from tests.support.sounds import sound_file, speech


def test_an_exchanged_model_is_let_go_at_once(settings: Settings) -> None:
    """And not when Python next looks for cycles: until then several models would fill the memory."""

    async def exchange() -> bool:
        service, loaded = Service(settings, Metrics(settings.max_queue)), asyncio.Event()
        service.start(lambda outcome: loaded.set())
        await loaded.wait()
        await service.predict(None, "정말")
        before = weakref.ref(service.model)
        gc.collect()
        gc.disable()
        try:
            await service.reload()
            return before() is None
        finally:
            gc.enable()
            await service.close()

    assert asyncio.run(exchange())


def test_a_signal_during_a_loading_is_kept_until_its_end(
    settings: Settings, store: Path, tmp_path: Path, make_version: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The version that came in between is served; several signals are one."""
    growing = Path(shutil.copytree(store, tmp_path / "store"))
    loading, go_on = threading.Event(), threading.Event()
    loads = []

    def slow(settings: Settings) -> Model:
        loads.append(load_model(settings))
        loading.set()
        assert go_on.wait(timeout=20)
        return loads[-1]

    monkeypatch.setattr(app.service, "load_model", slow)

    async def served() -> str:
        service = Service(settings.model_copy(update={"model_store": str(growing)}), Metrics(settings.max_queue))
        service.start()
        assert await asyncio.to_thread(loading.wait, 20)
        make_version(growing, version="0.2.0")
        service.reload_soon()
        service.reload_soon()
        go_on.set()
        try:
            async with asyncio.timeout(20):
                while len(loads) < 2 or service.model is not loads[1]:
                    await asyncio.sleep(0.01)
            return service.model.manifest.version
        finally:
            await service.close()

    assert asyncio.run(served()) == "0.2.0"
    assert len(loads) == 2


def test_a_channel_of_the_audio_can_be_asked_for(settings: Settings, model: Model) -> None:
    one, other = speech(1.0), speech(1.0, seed=4)
    data = sound_file(np.stack([one, other], axis=1))

    async def ask() -> list[Answer]:
        service, loaded = Service(settings, Metrics(settings.max_queue), model), asyncio.Event()
        service.start(lambda outcome: loaded.set())
        await loaded.wait()
        try:
            with pytest.raises(ChannelMissing) as refused:
                await service.predict(io.BytesIO(data), None, channel=2)
            assert (refused.value.code, refused.value.status) == ("channel_missing", 422)
            asked = [(sound_file(other), None), (data, 1), (data, 0)]
            return [await service.predict(io.BytesIO(file), None, channel=channel) for file, channel in asked]
        finally:
            await service.close()

    alone, right, left = asyncio.run(ask())
    assert right.audio and left.audio and (right.audio.channel, left.audio.channel) == (1, 0)
    assert right.arousal == alone.arousal != left.arousal


def test_as_many_wait_as_may_and_those_being_prepared_count(settings: Settings, model: Model) -> None:
    entered, opened = threading.Semaphore(0), threading.Event()

    def gated(batch: Any) -> list[Prediction]:
        entered.release()
        assert opened.wait(timeout=20)
        return model.predict(batch)

    async def ask() -> None:
        service = Service(settings.model_copy(update={"max_queue": 2}), Metrics(2), replace(model, runners=[gated]))
        loaded = asyncio.Event()
        service.start(lambda outcome: loaded.set())
        await loaded.wait()
        try:
            running = asyncio.create_task(service.predict(None, "하"))
            assert await asyncio.to_thread(entered.acquire, timeout=20)
            waiting = [asyncio.create_task(service.predict(None, "정말")) for _ in range(2)]
            service.check_room(has_audio=False)
            await asyncio.sleep(0)  # both begin, and neither has got to the queue
            with pytest.raises(QueueFull):
                service.check_room(has_audio=False)
            with pytest.raises(QueueFull):
                await service.predict(None, "아")
            opened.set()
            assert [answer.modalities for answer in await asyncio.gather(running, *waiting)] == [["text"]] * 3
            service.check_room(has_audio=False)
        finally:
            opened.set()
            await service.close()

    asyncio.run(ask())


def test_a_transcript_does_not_wait_for_clips_that_wait_for_a_decoder(
    settings: Settings, model: Model, wav: bytes
) -> None:
    """And the clips are shown where they wait."""

    async def ask() -> None:
        metrics = Metrics(2)
        service, loaded = Service(settings.model_copy(update={"max_queue": 2}), metrics, model), asyncio.Event()
        service.start(lambda outcome: loaded.set())
        await loaded.wait()
        others = children()
        try:
            await service.predict(io.BytesIO(wav), None)
            (decoder,) = children() - others
            os.kill(decoder, signal.SIGSTOP)
            clips = [asyncio.create_task(service.predict(io.BytesIO(wav), None)) for _ in range(2)]
            while not gauge(metrics, "maeum_decoder_queue_depth"):
                await asyncio.sleep(0.01)
                service.measure()
            assert gauge(metrics, "maeum_decoding") == 1 and gauge(metrics, "maeum_queue_depth") == 2
            assert gauge(metrics, "maeum_queue_age_seconds") > 0
            with pytest.raises(QueueFull):
                service.check_room(has_audio=True)
            assert (await service.predict(None, "정말")).timing_ms.decoder_queue == 0
            await asyncio.sleep(0.2)
            os.kill(decoder, signal.SIGCONT)
            first, second = [(await clip).timing_ms for clip in clips]
            assert first.decoder_queue < 200 < second.decoder_queue
            assert second.decode < 200 < first.decode
        finally:
            await service.close()

    asyncio.run(ask())


def test_stages_are_known_of_what_is_given_up(settings: Settings, model: Model) -> None:
    entered, opened = threading.Semaphore(0), threading.Event()

    def gated(batch: Any) -> list[Prediction]:
        entered.release()
        assert opened.wait(timeout=20)
        return model.predict(batch)

    async def ask() -> None:
        service, loaded = Service(settings, Metrics(2), replace(model, runners=[gated])), asyncio.Event()
        service.start(lambda outcome: loaded.set())
        await loaded.wait()
        try:
            running, waiting = Stopwatch(), Stopwatch()
            first = asyncio.create_task(service.predict(None, "하", running))
            assert await asyncio.to_thread(entered.acquire, timeout=20)
            second = asyncio.create_task(service.predict(None, "하", waiting))
            while "queue" not in waiting.seconds():
                await asyncio.sleep(0.001)
            await asyncio.sleep(0.1)
            for task in (first, second):
                task.cancel()
            await asyncio.wait((first, second))
            assert list(running.seconds()) == ["decode", "queue", "inference"] and running.seconds()["inference"] > 0.1
            assert list(waiting.seconds()) == ["decode", "queue"] and waiting.seconds()["queue"] > 0.1
        finally:
            opened.set()
            await service.close()

    asyncio.run(ask())


def test_a_burst_may_wait_longer_than_a_lasting_overload(settings: Settings, model: Model) -> None:
    """The longest wait is 0.4 s and an item takes 0.1 s: a burst fills the queue, and after it half is left."""
    changed = settings.model_copy(update={"max_wait_s": 0.4})

    def slow(batch: Any) -> list[Prediction]:
        time.sleep(0.1)
        return model.predict(batch)

    async def ask() -> None:
        service, loaded = Service(changed, Metrics(64), replace(model, runners=[slow])), asyncio.Event()
        service.start(lambda outcome: loaded.set())
        await loaded.wait()
        try:
            for _ in range(30):  # until the average is near the time that one takes
                await service.predict(None, "하")
            accepted: list[tuple[float, asyncio.Task[Answer]]] = []
            began = time.perf_counter()
            while (now := time.perf_counter() - began) < 1.5:
                with suppress(QueueFull):
                    service.check_room(has_audio=False)
                    accepted.append((now, asyncio.create_task(service.predict(None, "하"))))
                await asyncio.sleep(0.005)
            waits = [(now, (await task).timing_ms.queue / 1000) for now, task in accepted]
            in_burst = [wait for now, wait in waits if now < 0.3]
            lasting = [wait for now, wait in waits if now > 0.9]
            assert max(in_burst) > 0.25 and statistics.median(lasting) < 0.8 * max(in_burst)
        finally:
            await service.close()

    asyncio.run(ask())


def test_a_loop_that_stands_still_is_seen(settings: Settings, model: Model) -> None:
    async def stand_still() -> float:
        metrics = Metrics(1)
        service = Service(settings, metrics, model)
        service.start()
        await asyncio.sleep(0.15)
        time.sleep(0.4)
        await asyncio.sleep(0.05)
        await service.close()
        return gauge(metrics, "maeum_loop_delay_seconds_sum")

    assert asyncio.run(stand_still()) > 0.2


def children() -> set[int]:
    """The processes that this one has started."""
    listed = Path("/proc/self/task").glob("*/children")
    return {int(pid) for path in listed for pid in path.read_text().split()}


def gauge(metrics: Metrics, name: str) -> float:
    found = re.search(rf"^{name} (\S+)$", metrics.render()[0].decode(), re.MULTILINE)
    assert found is not None
    return float(found[1])
