"""The HTTP service: its routes and what surrounds them. What answers is `app.service`, what it says `app.answer`."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, File, Form, Header, Request, Response, UploadFile
from fastapi.responses import PlainTextResponse, RedirectResponse
from fastapi_offline import FastAPIOffline
from pydantic import WithJsonSchema
from starlette.routing import Route
from starlette.types import Scope

from .. import __version__
from ..answer import ModelName
from ..errors import MaeumError, NotReady, ReloadFailed
from ..pipeline import Pipeline
from ..service import Service
from ..settings import Settings
from ..telemetry.metrics import Metrics
from ..telemetry.tracing import open_traces
from .access import add_access
from .browsers import add_pages
from .forms import FormRoute
from .limits import UploadMiddleware, while_wanted
from .observe import ObserveMiddleware
from .problems import PREDICT_ERRORS, add_handlers, openapi_responses
from .schemas import (
    Live,
    ModelResponse,
    PredictResponse,
    Ready,
    ReloadRequest,
    ReloadResponse,
)
from .state import request_state

_DESCRIPTION = """\
Arousal from the voice, valence from the words, an emotion from both, for one Korean utterance.

Every failure answers as `application/problem+json` (RFC 9457) with a stable `code` and the `request_id`, which is also
in the header `X-Request-ID`; a request may bring its own.
"""

# Described without null: a form cannot hold one, and for it the documentation's page would not offer to choose a file.
AudioField = Annotated[
    UploadFile | None,
    File(
        description="One utterance: WAV (PCM, float, A-law, mu-law), FLAC, OGG (Vorbis, Opus), MP3, M4A (AAC), WebM "
        "(Opus, Vorbis) or AMR; any rate."
    ),
    WithJsonSchema({"type": "string", "format": "binary"}),
]
TranscriptField = Annotated[
    str | None,
    Form(description="What is said in it. KEMDy20's tags are removed.", examples=["아 진짜 왜 그러는 거야"]),
    WithJsonSchema({"type": "string"}),
]
TimeoutField = Annotated[
    str | None,
    Header(description="Seconds after which the answer is of no use; the request is then given up."),
    WithJsonSchema({"type": "number", "exclusiveMinimum": 0}),
]


async def service_of(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


CurrentService = Annotated[Service, Depends(service_of)]

routes = APIRouter(route_class=FormRoute)


@routes.post("/predict", responses=openapi_responses(*PREDICT_ERRORS))
async def predict(
    request: Request,
    service: CurrentService,
    audio: AudioField = None,
    transcript: TranscriptField = None,
    x_request_timeout: TimeoutField = None,
) -> PredictResponse:
    """Judges one utterance by its audio, its transcript, or both.

    Without audio `arousal` is null, without a transcript `valence` is; the emotion is judged by what there is.
    """
    work = service.predict(None if audio is None else audio.file, transcript)
    state = request_state(request.scope)
    answer = await while_wanted(work, state.deadline, request.receive)
    state.timing_ms = answer.timing_ms.model_dump()
    return PredictResponse(**dict(answer), request_id=state.request_id)


@routes.head("/health/live", include_in_schema=False)
@routes.get("/health/live")
async def live() -> Live:
    """Answers as long as the process does."""
    return Live()


@routes.head("/health/ready", include_in_schema=False)
@routes.get("/health/ready", responses=openapi_responses(NotReady))
async def ready(service: CurrentService) -> Ready:
    """Answers 200 when the model is loaded, checked against its SHA-256, warmed, and new requests should come here."""
    service.check_ready()
    return Ready()


@routes.get("/model", responses=openapi_responses(NotReady))
async def model(service: CurrentService) -> ModelResponse:
    """The manifest and the card of the model being served."""
    served = service.pipeline.model
    return ModelResponse(
        manifest=served.manifest, card=served.card, precision=served.precision, provider=served.provider
    )


@routes.get("/", include_in_schema=False)
async def root() -> RedirectResponse:
    return RedirectResponse("docs")


metrics_routes = APIRouter()


@metrics_routes.get("/metrics", response_class=PlainTextResponse)
async def metrics(service: CurrentService) -> Response:
    """What is counted and measured, in Prometheus' text format."""
    service.measure()
    body, media_type = await asyncio.to_thread(service.metrics.render)
    return Response(body, media_type=media_type)


admin_routes = APIRouter(prefix="/admin")


@admin_routes.post("/reload", responses=openapi_responses(ReloadFailed))
async def reload(service: CurrentService, asked: ReloadRequest) -> ReloadResponse:
    """Loads a model and serves it from then on, without a failed request; answers when that is done.

    `{}` asks for the model of the settings, which for a NAME is its newest version by then. The body must be said to be
    JSON, which a page of another site cannot do unasked.
    """
    manifest = await service.reload(asked.model)
    return ReloadResponse(model=ModelName(name=manifest.name, version=manifest.version))


def create_app(
    settings: Settings | None = None,
    pipeline: Pipeline | None = None,
    on_loaded: Callable[[Pipeline | MaeumError], None] | None = None,
) -> FastAPI:
    """Builds the service. Nothing is loaded before it starts; then the model is, while /health/live already answers.

    `pipeline` is served as it is, in place of the settings' model. `on_loaded` is told the pipeline, or why there is
    none. Raises SettingsInvalid.
    """
    settings = settings or Settings.load()
    service = Service(settings, Metrics(settings.max_queue), pipeline)
    traces = open_traces()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        service.start(on_loaded)
        yield
        await service.close()
        if traces is not None:
            await asyncio.to_thread(traces.close)

    app: FastAPI = FastAPIOffline(
        docs_url="/docs",
        redoc_url=None,
        title="Maeum",
        version=__version__,
        description=_DESCRIPTION,
        lifespan=lifespan,
        # A long transcript is refused as such, not as a part that is too large.
        form_limits={"max_part_size": settings.max_body_bytes},
        # The framework's own spans and logs hold paths and messages as they were sent; ours are `app.web.observe`'s.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
        # Without this the page may send the document to a validator on the internet.
        swagger_ui_parameters={"validatorUrl": None},
    )
    app.state.service = service
    served = [routes]
    if settings.metrics:
        served.append(metrics_routes)
    if settings.admin:
        served.append(admin_routes)
    for router in served:
        app.include_router(router)
    add_handlers(app)
    _describe_form(app, settings)
    # The last added is the outermost.
    app.add_middleware(UploadMiddleware, settings=settings, admit=_admit(service), metrics=service.metrics)
    add_access(app, settings)
    paths = [route.path for router in (app.router, *served) for route in router.routes if isinstance(route, Route)]
    app.add_middleware(ObserveMiddleware, metrics=service.metrics, traces=traces, paths=paths)
    add_pages(app, settings)
    return app


def _describe_form(app: FastAPI, settings: Settings) -> None:
    """Says in the OpenAPI document what the framework cannot: that a form holds something, and nothing else."""
    described = app.openapi

    def with_form() -> dict[str, Any]:
        document = described()
        body = document["paths"]["/predict"]["post"]["requestBody"]
        body["required"] = True
        (schema,) = [schema for name, schema in document["components"]["schemas"].items() if name.startswith("Body_")]
        schema |= {"minProperties": 1, "additionalProperties": False}
        schema["properties"]["transcript"]["maxLength"] = settings.max_transcript_characters
        return document

    app.openapi = with_form  # type: ignore[method-assign] # as FastAPI documents it


def _admit(service: Service) -> Callable[[Scope], None]:
    """Refuses, before its body is read, a request that would be refused after it."""

    def admit(scope: Scope) -> None:
        if scope["path"] == "/predict" and scope["method"] == "POST":
            service.check_room()

    return admit
