"""The model's life in a service, without HTTP."""

import asyncio
import gc
import io
import shutil
import threading
import weakref
from collections.abc import Callable
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
            service.check_room()
            await asyncio.sleep(0)  # both begin, and neither has got to the queue
            with pytest.raises(QueueFull):
                service.check_room()
            with pytest.raises(QueueFull):
                await service.predict(None, "아")
            opened.set()
            assert [answer.modalities for answer in await asyncio.gather(running, *waiting)] == [["text"]] * 3
            service.check_room()
        finally:
            opened.set()
            await service.close()

    asyncio.run(ask())
