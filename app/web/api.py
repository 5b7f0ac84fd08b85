"""The HTTP service: its routes, their documentation and their middleware. `app.service` gives the answers."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Annotated, Any, NamedTuple

from fastapi import APIRouter, Depends, FastAPI, File, Form, Header, Request, Response, UploadFile
from fastapi.responses import JSONResponse, PlainTextResponse
from fastapi_offline import FastAPIOffline
from pydantic import WithJsonSchema
from starlette.datastructures import Headers
from starlette.routing import Mount, Route
from starlette.types import Scope

from .. import __version__
from ..answer import ModelName
from ..engine.load import Model
from ..errors import (
    ContentTypeUnsupported,
    DuplicateField,
    InvalidRequest,
    MaeumError,
    NotReady,
    ReloadFailed,
    RequestsFull,
    UnknownField,
)
from ..service import Service
from ..settings import Settings
from ..telemetry.metrics import Metrics
from ..telemetry.tracing import open_traces
from .access import add_access
from .browsers import add_pages
from .cross_site import add_cross_site
from .door import Door
from .files import WholeFiles
from .forms import StrictRoute, channel_number
from .limits import UploadMiddleware, surely_has_audio, while_wanted
from .observe import ObserveMiddleware
from .problems import PREDICT_ERRORS, add_handlers, openapi_responses
from .root_path import add_root_path
from .schemas import (
    CHANNEL,
    Live,
    ModelResponse,
    PredictResponse,
    Ready,
    ReloadRequest,
    ReloadResponse,
    other_forms,
)
from .shared import Shared
from .state import request_state, route_path

_DESCRIPTION = """\
Emotion of Korean utterances: arousal from audio, valence from a transcript, an emotion from either or both.

| field | scale | needs |
| --- | --- | --- |
| `arousal` | {low} (calm) to {high} (excited) | audio |
| `valence` | {low} (negative) to {high} (positive) | transcript |
| `emotion.probabilities` | 0 to 1, calibrated on validation data; they sum to 1 | audio, transcript or both |

The ends of the two scales and the emotion classes are the model's: `manifest.scale` and `manifest.emotion.classes` of
`GET /model`. An answer with `warnings` is less reliable.

Every failure is `application/problem+json` (RFC 9457) with a stable `code` and the `request_id`, which is also in the
header `X-Request-ID`. A request may set that header itself.
"""

_TAGS = [
    {"name": "Prediction", "description": "Emotion, arousal and valence of an utterance."},
    {"name": "Model", "description": "The served model: its classes, scales, limits and measured quality."},
    {"name": "Health", "description": "Probes for load balancers and supervisors."},
    {"name": "Operations", "description": "For the operator: metrics, and exchanging the model."},
]

# Described without null: a form cannot hold one, and with it the documentation page offers no file chooser.
AudioField = Annotated[
    UploadFile | None,
    File(
        description="One utterance as WAV (PCM, float, A-law, mu-law), FLAC, OGG (Vorbis, Opus), MP3, M4A (AAC), WebM "
        "(Opus, Vorbis) or AMR, at any sample rate from 1 to 768 kHz. Channels are mixed unless `channel` names one."
    ),
    WithJsonSchema({"type": "string", "format": "binary"}),
]
TranscriptField = Annotated[
    str | None,
    Form(
        description="The Korean transcript of the utterance. KEMDy20's tags are removed.",
        examples=["아 진짜 왜 그러는 거야"],
    ),
    WithJsonSchema({"type": "string"}),
]
ChannelField = Annotated[
    str | None,
    Form(description="Which channel of the audio to use: `mix` for all of them, or a number; the first is 0."),
    WithJsonSchema({"type": "string", "pattern": CHANNEL, "default": "mix"}),
]
TimeoutField = Annotated[
    str | None,
    Header(
        description="Seconds from the request's first byte after which it is cancelled, with `deadline_exceeded`. The "
        "service has an upper bound."
    ),
    WithJsonSchema({"type": "number", "exclusiveMinimum": 0}),
]


async def service_of(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


CurrentService = Annotated[Service, Depends(service_of)]

routes = APIRouter(route_class=StrictRoute)


@routes.post(
    "/predict",
    tags=["Prediction"],
    summary="Predict emotion, arousal and valence of an utterance",
    response_description="The prediction",
    responses=openapi_responses(*PREDICT_ERRORS),
)
async def predict(
    request: Request,
    service: CurrentService,
    audio: AudioField = None,
    transcript: TranscriptField = None,
    channel: ChannelField = None,
    x_request_timeout: TimeoutField = None,
) -> PredictResponse:
    """Takes one utterance as audio, as a transcript, or as both.

    `arousal` is null without audio, `valence` without a transcript; `emotion` uses whichever was sent. Audio
    or text beyond the model's input limits is cut, with a warning.
    """
    clip = None if audio is None else audio.file
    state = request_state(request.scope)
    work = service.predict(clip, transcript, state.stopwatch, channel=channel_number(channel))
    answer = await while_wanted(work, state.deadline, request.receive)
    return PredictResponse(**dict(answer), request_id=state.request_id)


@routes.head("/health/live", include_in_schema=False)
@routes.get(
    "/health/live", tags=["Health"], summary="Check that the process runs", response_description="The process runs"
)
async def live() -> Live:
    """Liveness: 200 as long as the process answers. Restart a process that does not."""
    return Live()


@routes.head("/health/ready", include_in_schema=False)
@routes.get(
    "/health/ready",
    tags=["Health"],
    summary="Check whether to send requests here",
    response_description="Requests may be sent here",
    responses=openapi_responses(NotReady, UnknownField),
)
async def ready(service: CurrentService) -> Ready:
    """Readiness: 200 once the model is loaded, checked against its SHA-256 and warmed up, and 503 before a stop."""
    service.check_ready()
    return Ready()


@routes.get(
    "/model",
    tags=["Model"],
    summary="Describe the served model",
    response_description="The model's manifest and card",
    responses=openapi_responses(NotReady, UnknownField, RequestsFull),
    response_model=ModelResponse,
)
async def model(request: Request) -> Response:
    """The manifest (classes, scale, input limits, evaluation) and the card of the served model."""
    return await _shared(request, request.app.state.model)


metrics_routes = APIRouter(route_class=StrictRoute)


@metrics_routes.get(
    "/metrics",
    tags=["Operations"],
    summary="Scrape the metrics",
    response_description="Metrics as text",
    responses=openapi_responses(UnknownField, RequestsFull),
    response_class=PlainTextResponse,
)
async def metrics(request: Request, service: CurrentService) -> Response:
    """Counters, gauges and histograms in Prometheus' text format."""
    service.measure()
    return await _shared(request, request.app.state.metrics)


admin_routes = APIRouter(prefix="/admin", route_class=StrictRoute)


@admin_routes.post(
    "/reload",
    tags=["Operations"],
    summary="Exchange the model without failing a request",
    response_description="The model that is served now",
    responses=openapi_responses(
        ReloadFailed, ContentTypeUnsupported, InvalidRequest, UnknownField, DuplicateField, RequestsFull
    ),
)
async def reload(service: CurrentService, asked: ReloadRequest) -> ReloadResponse:
    """Loads a model, serves it in place of the current one, and answers when that is done.

    `{}` loads the model of the settings; where that is a NAME, its newest version. The body must have the content type
    `application/json`, which a page of another site cannot send without permission.
    """
    manifest = await service.reload(asked.model)
    return ReloadResponse(model=ModelName(name=manifest.name, version=manifest.version))


def create_app(
    settings: Settings | None = None,
    model: Model | None = None,
    on_loaded: Callable[[Model | MaeumError], None] | None = None,
) -> FastAPI:
    """Builds the service. It loads the model when it starts, while /health/live already answers.

    `model` is served in place of the settings' model. `on_loaded` is called once, with the model or the error that
    prevented it. Raises SettingsInvalid.
    """
    settings = settings or Settings.load()
    service = Service(settings, Metrics(settings.max_queue), model)
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
        openapi_tags=_TAGS,
        lifespan=lifespan,
        # Behind a proxy a redirect may name the wrong scheme, host or prefix: `app.web.problems` names the path.
        redirect_slashes=False,
        # The framework's spans and logs would hold paths and messages as sent; `app.web.observe` makes ours.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
        # Else the page may send the document to a validator on the internet.
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
    docs = next(route for route in app.router.routes if isinstance(route, Route) and route.path == "/docs")
    app.router.routes.append(Route("/", docs.endpoint, include_in_schema=False))
    for mounted in app.router.routes:
        if isinstance(mounted, Mount):
            mounted.app = WholeFiles(mounted.app)
    paths = [route.path for router in (app.router, *served) for route in router.routes if isinstance(route, Route)]
    app.state.door = Door(service, settings, paths)
    app.state.metrics = Shared(lambda: _Made(*service.metrics.render()))
    app.state.model = Shared(lambda: _Made(_model_json(service.model), JSONResponse.media_type))
    add_handlers(app, paths)
    _describe(app, settings, service)
    # The last added is the outermost.
    app.add_middleware(UploadMiddleware, settings=settings, admit=_admit(service), metrics=service.metrics)
    add_access(app, settings)
    add_cross_site(app, settings)
    app.add_middleware(ObserveMiddleware, metrics=service.metrics, traces=traces, paths=paths)
    add_pages(app, settings)
    add_root_path(app, settings, paths)
    return app


class _Made(NamedTuple):
    """An answer that is the same for all."""

    body: bytes
    media_type: str


async def _shared(request: Request, made: Shared[_Made]) -> Response:
    """The answer that is made for all who ask now. Raises ClientGone where this one has left."""
    content, media_type = await while_wanted(made.get(), request_state(request.scope).deadline, request.receive)
    return Response(content, media_type=media_type)


def _model_json(model: Model) -> bytes:
    described = ModelResponse(
        manifest=model.manifest, card=model.card, precision=model.precision, provider=model.provider
    )
    return described.model_dump_json().encode()


def _describe(app: FastAPI, settings: Settings, service: Service) -> None:
    """Adds to the OpenAPI document the served model's scale, and that a form has a field at least and no unknown ones.

    The document is made anew at each request, since the model may have been exchanged.
    """
    described = app.openapi

    def completed() -> dict[str, Any]:
        document = described()
        try:
            low, high = (f"{end:g}" for end in service.model.manifest.scale)
        except NotReady:
            low, high = "lowest", "highest"
        document["info"]["description"] = _DESCRIPTION.format(low=low, high=high)
        body = document["paths"]["/predict"]["post"]["requestBody"]
        body["required"] = True
        (schema,) = [schema for name, schema in document["components"]["schemas"].items() if name.startswith("Body_")]
        schema |= {"minProperties": 1, "additionalProperties": False}
        schema["properties"]["transcript"]["maxLength"] = settings.max_transcript_characters
        body["content"] |= other_forms(schema["properties"])
        return document

    app.openapi = completed  # type: ignore[method-assign] # as FastAPI documents it
    # The framework's own would make it in the event loop, which takes a tenth of a second the first time.
    (own,) = [route for route in app.router.routes if isinstance(route, Route) and route.path == app.openapi_url]
    made: dict[str, Shared[_Made]] = {}

    async def document(request: Request) -> Response:
        root = request.scope.get("root_path", "").rstrip("/")
        if root not in made:
            made[root] = Shared(lambda: _Made(_document_json(app, root), JSONResponse.media_type))
        return await _shared(request, made[root])

    app.router.routes[app.router.routes.index(own)] = Route(own.path, document, include_in_schema=False)


def _document_json(app: FastAPI, root: str) -> bytes:
    """The OpenAPI document of a service whose addresses begin with `root`."""
    servers = {"servers": [{"url": root}]} if root else {}
    return json.dumps({**app.openapi(), **servers}, ensure_ascii=False).encode()


def _admit(service: Service) -> Callable[[Scope], None]:
    """Refuses a request before its body is read, where it would be refused afterwards."""

    def admit(scope: Scope) -> None:
        if route_path(scope) == "/predict" and scope["method"] == "POST":
            service.check_room(surely_has_audio(Headers(scope=scope)))

    return admit
