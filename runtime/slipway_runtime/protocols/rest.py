"""The V2 REST surface beside inference, and the admin surface. The only door to FastAPI.

No route takes a pydantic body: real clients send no Content-Type, and FastAPI would answer 422.
Every error is `{"error": "…"}`, those of unknown routes and wrong verbs too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from http import HTTPStatus
from importlib.resources import files
from types import MappingProxyType
from typing import Annotated, Any, Final

from fastapi import Depends, FastAPI, Request, Response
from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from slipway_runtime import page
from slipway_runtime.errors import InvalidRequest, NotServed, ServingError, shown
from slipway_runtime.inference.dataplane import DataPlane, State
from slipway_runtime.inference.request import LABEL
from slipway_runtime.monitoring.metrics import Metrics
from slipway_runtime.protocols import codec_json, described, described_v1
from slipway_runtime.protocols.body import BodyLimit
from slipway_runtime.protocols.openapi import infer_paths, other_paths
from slipway_runtime.protocols.repository_parameters import check_load, check_unload
from slipway_runtime.protocols.v1 import LATEST
from slipway_runtime.protocols.wire import RETRY_AFTER_S, error_body, status_of
from slipway_runtime.repository import Repository

_PAGE: Final = {
    "/docs": ("index.html", "text/html"),
    "/docs/page.css": ("page.css", "text/css"),
    "/docs/page.js": ("page.js", "text/javascript"),
}
_PAGE_POLICY: Final = "default-src 'self'; img-src data:; frame-ancestors 'none'"
"""Nothing from another host, nothing inline: names of a hostile model stay text."""
_SMALL_BODY: Final = BodyLimit(64 * 1024, 10.0, "the server")


async def _version(request: Request) -> str | None:
    """The version that a path names; FastAPI would look for one with a default in the query."""
    return request.path_params.get("version")


Version = Annotated[str | None, Depends(_version)]


def client_app(
    dataplane: DataPlane,
    metrics: Metrics,
    *,
    release: str,
    repository: Repository | None = None,
) -> FastAPI:
    """The V2 routes for clients, all but inference; load and unload where there is a repository."""
    app = _app("Slipway runtime", release)

    @app.get("/v2", summary="Server metadata")
    @app.get("/v2/", include_in_schema=False)
    async def server_metadata() -> Response:
        has_repository = repository is not None
        return JSONResponse(described.server_metadata(release, has_repository=has_repository))

    @app.get("/v2/health/live", summary="Server live")
    async def server_live() -> Response:
        return JSONResponse({"live": True})

    @app.get("/v2/health/ready", summary="Server ready")
    async def server_ready() -> Response:
        return _readiness(dataplane, {})

    @app.get("/v2/models", summary="Names of the models")
    async def model_names() -> Response:
        return JSONResponse({"models": [dataplane.config.name]})

    # Ahead of the models' own paths: no model is called `stats`.
    @app.get("/v2/models/stats", summary="Statistics of all models")
    async def statistics() -> Response:
        return JSONResponse({"model_stats": [described.model_statistics(dataplane, metrics)]})

    @app.get("/v2/models/{model}/stats", summary="Statistics of a model")
    @app.get("/v2/models/{model}/versions/{version}/stats", summary="Statistics of a version")
    async def model_statistics(model: str, version: Version) -> Response:
        dataplane.check_name(model, version)
        return await statistics()

    @app.get("/v2/models/{model}/config", summary="Model configuration")
    @app.get("/v2/models/{model}/versions/{version}/config", summary="Configuration of a version")
    async def model_config(model: str, version: Version) -> Response:
        dataplane.check_name(model, version)
        return JSONResponse(described.model_config(dataplane))

    @app.post("/v2/repository/index", summary="Models and their states")
    async def repository_index(request: Request) -> Response:
        wanted = await _small_document(request)
        only_ready = wanted.get("ready", False)
        if not isinstance(only_ready, bool):
            raise InvalidRequest(f"ready: got {shown(only_ready)}, expected true or false")
        reason = repository.failure if repository else ""
        index = described.repository_index(dataplane, only_ready=only_ready, reason=reason)
        return JSONResponse(index)

    @app.get("/v2/models/{model}", summary="Model metadata")
    @app.get("/v2/models/{model}/versions/{version}", summary="Model metadata of a version")
    async def model_metadata(model: str, version: Version) -> Response:
        dataplane.check_name(model, version)
        return JSONResponse(described.model_metadata(dataplane))

    @app.get("/v2/models/{model}/ready", summary="Model ready")
    @app.get("/v2/models/{model}/versions/{version}/ready", summary="Version of a model ready")
    async def model_ready(model: str, version: Version) -> Response:
        dataplane.check_name(model, version)
        return _readiness(dataplane, {"name": model})

    if repository:
        _add_repository_routes(app, dataplane, repository)
    _add_v1_routes(app, dataplane)
    return app


def _add_repository_routes(app: FastAPI, dataplane: DataPlane, repository: Repository) -> None:
    @app.post("/v2/repository/models/{model}/load", summary="Load the model's file again")
    async def load(model: str, request: Request) -> Response:
        check_load(await _parameters(request))
        dataplane.check_name(model)
        await repository.load()
        return Response()

    @app.post("/v2/repository/models/{model}/unload", summary="Unload the model")
    async def unload(model: str, request: Request) -> Response:
        check_unload(await _parameters(request))
        dataplane.check_name(model)
        await repository.unload()
        return Response()


async def _parameters(request: Request) -> dict[str, Any]:
    found = (await _small_document(request)).get("parameters", {})
    if not isinstance(found, dict):
        raise InvalidRequest(f"parameters: got {shown(found)}, expected an object")
    return found


def _add_v1_routes(app: FastAPI, dataplane: DataPlane) -> None:
    """What V1 and TorchServe have beside inference."""

    @app.get("/", summary="Server live (V1)")
    async def alive() -> Response:
        return JSONResponse({"status": "alive"})

    @app.get("/ping", summary="Server healthy (TorchServe)")
    async def ping() -> Response:
        if dataplane.state is State.READY:
            return JSONResponse({"status": "Healthy"})
        return JSONResponse({"status": "Unhealthy"}, 500)

    @app.get("/v1/models", summary="Names of the models (V1)")
    async def v1_model_names() -> Response:
        return JSONResponse({"models": [dataplane.config.name]})

    @app.get("/v1/models/{model}", summary="Model status (V1)")
    @app.get("/v1/models/{model}/versions/{version}", summary="Status of a version (V1)")
    async def v1_status(model: str, version: Version) -> Response:
        dataplane.check_name(model, None if version == LATEST else version)
        status = described_v1.model_status(dataplane)
        if status["ready"]:
            return JSONResponse(status)
        return JSONResponse({**status, **_not_ready(dataplane)}, 503, {"retry-after": "1"})

    @app.get("/v1/models/{model}/labels/{label}", summary="Status of the labelled version (V1)")
    async def v1_label_status(model: str, label: str) -> Response:
        return await v1_status(model, f"{LABEL}{label}")

    @app.get("/v1/models/{model}/metadata", summary="Model metadata (V1)")
    @app.get("/v1/models/{model}/versions/{version}/metadata", summary="Version's metadata (V1)")
    async def v1_metadata(model: str, version: Version) -> Response:
        dataplane.check_name(model, None if version == LATEST else version)
        return JSONResponse(described_v1.model_metadata(dataplane))

    @app.post("/v1/models/{model}:{verb}", include_in_schema=False)
    @app.post("/v1/models/{model}/versions/{version}:{verb}", include_in_schema=False)
    @app.post("/v1/models/{model}/labels/{version}:{verb}", include_in_schema=False)
    async def not_served(model: str, verb: str, version: Version) -> Response:
        if verb not in ("classify", "regress", "explain"):
            raise HTTPException(HTTPStatus.NOT_FOUND)
        raise NotServed(f"method {shown(verb)}: not served, expected predict")


async def _small_document(request: Request) -> dict[str, Any]:
    """The object of a body, or none: clients send an empty body where they mean no wishes."""
    _SMALL_BODY.announced(request.scope)
    body = await _SMALL_BODY.read(request.receive)
    if not body:
        return {}
    document = codec_json.plain(codec_json.parsed(body))
    if not isinstance(document, dict):
        raise InvalidRequest(f"body: got {shown(document)}, expected an object")
    return document


def admin_app(dataplane: DataPlane, metrics: Metrics, client: FastAPI) -> FastAPI:
    """Probes, metrics, status and the API page of the client surface."""
    app = _app("Slipway runtime, admin", client.version)

    @app.get("/livez")
    async def livez() -> Response:
        return JSONResponse({"live": True})

    @app.get("/readyz")
    async def readyz() -> Response:
        return _readiness(dataplane, {})

    @app.get("/metrics")
    async def metrics_page() -> Response:
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    @app.get("/status")
    async def status() -> Response:
        # Tasks are what this process forgets where it forgets to end something.
        return JSONResponse({**_status(dataplane), "tasks": len(asyncio.all_tasks())})

    @app.get("/openapi.json")
    async def openapi() -> Response:
        return JSONResponse(_description(client.openapi(), dataplane))

    _add_page(app)
    # Same origin: the page sends its requests here. Last, because it takes every other path.
    app.mount("/", client)
    return app


def _description(document: dict[str, Any], dataplane: DataPlane) -> dict[str, Any]:
    """The OpenAPI document of the client surface, with the model's own names and shapes."""
    model, name, version = dataplane.loaded, dataplane.config.name, dataplane.version
    ours = infer_paths(name, version, model.signature if model else None)
    only = {"model": name, "version": version}
    about = f"Model {name}, version {version}, {dataplane.state.lower()}."
    return {
        "openapi": document["openapi"],
        "info": {**document["info"], "description": about},
        "paths": {**ours, **other_paths(document["paths"], only)},
    }


def _add_page(app: FastAPI) -> None:
    for path, (name, kind) in _PAGE.items():
        content = (files(page) / name).read_bytes()

        def send(content: bytes = content, kind: str = kind) -> Response:
            return Response(content, 200, {"content-security-policy": _PAGE_POLICY}, kind)

        app.add_api_route(path, send, include_in_schema=False)


def _app(title: str, release: str) -> FastAPI:
    app = FastAPI(
        title=title,
        version=release,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
    )

    @app.exception_handler(HTTPException)
    async def routing_error(request: Request, err: HTTPException) -> Response:
        return _error(err.status_code, _routing_message(request, err), dict(err.headers or {}))

    @app.exception_handler(ServingError)
    async def serving_error(request: Request, err: ServingError) -> Response:
        return _error(status_of(err), str(err))

    @app.exception_handler(Exception)
    async def unexpected_error(request: Request, err: Exception) -> Response:
        return _error(500, "internal error; the server's log has the cause")

    return app


def _routing_message(request: Request, err: HTTPException) -> str:
    path = shown(request.scope["path"])
    if err.status_code == HTTPStatus.NOT_FOUND:
        return f"path {path}: unknown, expected one of the Open Inference Protocol's under /v2"
    if err.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        allowed = (err.headers or {}).get("Allow", "another verb")
        return f"path {path}: got {request.method}, expected {allowed}"
    return str(err.detail)


def _error(status: int, message: str, extra: Mapping[str, str] = MappingProxyType({})) -> Response:
    retry = RETRY_AFTER_S.get(status)
    headers = {**extra} if retry is None else {**extra, "retry-after": str(retry)}
    return Response(error_body(message), status, headers, media_type="application/json")


def _readiness(dataplane: DataPlane, subject: dict[str, Any]) -> Response:
    if dataplane.state is State.READY:
        return JSONResponse({**subject, "ready": True})
    return JSONResponse({**subject, **_not_ready(dataplane)}, 503, {"retry-after": "1"})


def _not_ready(dataplane: DataPlane) -> dict[str, Any]:
    reason = f"model {shown(dataplane.config.name)} is {dataplane.state.lower()}"
    return {"ready": False, "error": reason}


def _status(dataplane: DataPlane) -> dict[str, Any]:
    config, model = dataplane.config, dataplane.loaded
    return {
        "name": config.name,
        "namespace": config.namespace,
        "revision": model.origin.revision if model else config.revision,
        "revisionNumber": config.revision_number,
        "version": config.model.version,
        "digest": model.origin.digest if model else config.digest,
        "state": dataplane.state,
        "threads": dataplane.threads,
        "batching": model.batching() if model else None,
        "running": dataplane.running,
        "queue": {"length": dataplane.waiting, "maxLength": config.serving.queue.max_length},
        "signature": model.signature.described() if model else None,
    }
