"""The model's life in a service, without HTTP."""

import asyncio
import gc
import weakref

from app.service import Service
from app.settings import Settings
from app.telemetry.metrics import Metrics


def test_an_exchanged_model_is_let_go_at_once(settings: Settings) -> None:
    """And not when Python next looks for cycles: until then several models would fill the memory."""

    async def exchange() -> bool:
        service, loaded = Service(settings, Metrics(settings.max_queue)), asyncio.Event()
        service.start(lambda outcome: loaded.set())
        await loaded.wait()
        await service.predict(None, "정말")
        before = weakref.ref(service.pipeline.model)
        gc.collect()
        gc.disable()
        try:
            await service.reload()
            return before() is None
        finally:
            gc.enable()
            await service.close()

    assert asyncio.run(exchange())
