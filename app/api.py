"""The HTTP service: routes, and the model's life from start to shutdown. What they answer is `app.schemas`'."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Annotated

from fastapi import APIRouter, Depends, FastAPI, File, Form, Request, UploadFile
from fastapi.responses import RedirectResponse
from fastapi_offline import FastAPIOffline
from pydantic import WithJsonSchema

from app import __version__
from app.errors import InternalError, MaeumError, NotReady, traceback_without_values
from app.middleware import BodyLimitMiddleware, RequestIdMiddleware
from app.model import load_model
from app.pipeline import Pipeline
from app.problems import PREDICT_ERRORS, add_handlers, openapi_responses
from app.schemas import Live, ModelResponse, PredictResponse, Ready
from app.settings import Settings

_log = logging.getLogger(__name__)

_DESCRIPTION = """\
Arousal from the voice, valence from the words, an emotion from both, for one Korean utterance.

Every failure answers as `application/problem+json` (RFC 9457) with a stable `code` and the `request_id`, which is also
in the header `X-Request-ID`; a request may bring its own.
"""

# Described without null: a form cannot hold one, and for it the documentation's page would not offer to choose a file.
AudioField = Annotated[
    UploadFile | None,
    File(description="One utterance: WAV (PCM, float, A-law, mu-law), FLAC, OGG (Vorbis, Opus) or MP3; any rate."),
    WithJsonSchema({"type": "string", "format": "binary"}),
]
TranscriptField = Annotated[
    str | None,
    Form(description="What is said in it. KEMDy20's tags are removed.", examples=["아 진짜 왜 그러는 거야"]),
    WithJsonSchema({"type": "string"}),
]


async def ready_pipeline(request: Request) -> Pipeline:
    """The pipeline, once it is loaded and while it lives. Raises NotReady."""
    pipeline: Pipeline | None = request.app.state.pipeline
    failure: MaeumError | None = request.app.state.failure
    if failure is not None:
        raise NotReady(f"The model cannot be loaded: {failure}")
    if pipeline is None or not pipeline.alive:
        raise NotReady
    return pipeline


ReadyPipeline = Annotated[Pipeline, Depends(ready_pipeline)]

routes = APIRouter()


@routes.post("/predict", responses=openapi_responses(*PREDICT_ERRORS))
async def predict(
    request: Request, pipeline: ReadyPipeline, audio: AudioField = None, transcript: TranscriptField = None
) -> PredictResponse:
    """Judges one utterance by its audio, its transcript, or both.

    Without audio `arousal` is null, without a transcript `valence` is; the emotion is judged by what there is.
    """
    answer = await pipeline.predict(None if audio is None else audio.file, transcript)
    return PredictResponse(**dict(answer), request_id=request.state.request_id)


@routes.get("/health/live")
async def live() -> Live:
    """Answers as long as the process does."""
    return Live()


@routes.get("/health/ready", responses=openapi_responses(NotReady))
async def ready(pipeline: ReadyPipeline) -> Ready:
    """Answers 200 when the model is loaded, checked against its SHA-256, warmed, and taking requests."""
    return Ready()


@routes.get("/model", responses=openapi_responses(NotReady))
async def model(pipeline: ReadyPipeline) -> ModelResponse:
    """The manifest and the card of the model being served."""
    served = pipeline.model
    return ModelResponse(
        manifest=served.manifest, card=served.card, precision=served.precision, provider=served.provider
    )


@routes.get("/", include_in_schema=False)
async def root() -> RedirectResponse:
    return RedirectResponse("docs")


def create_app(
    settings: Settings | None = None,
    pipeline: Pipeline | None = None,
    on_loaded: Callable[[Pipeline | MaeumError], None] | None = None,
) -> FastAPI:
    """Builds the service. Nothing is loaded before it starts; then the model is, while /health/live already answers.

    `pipeline` is served as it is, in place of the settings' model. `on_loaded` is told the pipeline, or why there is
    none.
    """
    settings = settings or Settings.load()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        loading = asyncio.create_task(_load(app, settings, pipeline, on_loaded))
        yield
        loading.cancel()
        with suppress(asyncio.CancelledError):
            await loading
        if app.state.pipeline is not None:
            await app.state.pipeline.close()

    app: FastAPI = FastAPIOffline(
        docs_url="/docs",
        redoc_url=None,
        title="Maeum",
        version=__version__,
        description=_DESCRIPTION,
        lifespan=lifespan,
        # A long transcript is refused as such, not as a part that is too large.
        form_limits={"max_part_size": settings.max_body_bytes},
        # Without this the page may send the document to a validator on the internet.
        swagger_ui_parameters={"validatorUrl": None},
    )
    app.state.pipeline = app.state.failure = None
    app.include_router(routes)
    add_handlers(app)
    app.add_middleware(BodyLimitMiddleware, max_bytes=settings.max_body_bytes)
    app.add_middleware(RequestIdMiddleware)
    return app


async def _load(
    app: FastAPI,
    settings: Settings,
    pipeline: Pipeline | None,
    on_loaded: Callable[[Pipeline | MaeumError], None] | None,
) -> None:
    """Starts `pipeline`, or one with the settings' model, loaded in a thread."""
    outcome: Pipeline | MaeumError
    try:
        outcome = pipeline or Pipeline(await asyncio.to_thread(load_model, settings), settings)
        outcome.start()
        app.state.pipeline = outcome
    except MaeumError as error:
        outcome = app.state.failure = error
    except Exception as error:  # noqa: BLE001 - nobody awaits this task before shutdown: it must not fail in silence
        _log.error("Loading failed.\n%s", traceback_without_values(error))
        outcome = app.state.failure = InternalError(f"Loading failed unexpectedly ({type(error).__name__}).")
    if on_loaded is not None:
        on_loaded(outcome)
