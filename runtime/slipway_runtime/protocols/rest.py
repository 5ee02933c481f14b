"""The V2 REST surface beside inference, and the admin surface.

Routes read their bodies themselves: real clients send no Content-Type.
Every error is `{"error": "…"}`, those of unknown routes and wrong verbs too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from http import HTTPStatus
from importlib.resources import files
from types import MappingProxyType
from typing import Any, Final

from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount
from starlette.types import ASGIApp

from slipway_runtime import page
from slipway_runtime.authentication.guard import Guard
from slipway_runtime.errors import InvalidRequest, NotServed, ServingError, shown
from slipway_runtime.inference.dataplane import DataPlane, State
from slipway_runtime.inference.request import LABEL
from slipway_runtime.monitoring.metrics import Metrics
from slipway_runtime.protocols import codec_json, described, described_v1
from slipway_runtime.protocols.body import BodyLimit
from slipway_runtime.protocols.openapi import OPENAPI_VERSION, infer_paths, other_paths
from slipway_runtime.protocols.repository_parameters import check_load, check_unload
from slipway_runtime.protocols.routes import Handler, Routes
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


def client_routes(
    dataplane: DataPlane,
    metrics: Metrics,
    *,
    release: str,
    repository: Repository | None = None,
) -> Routes:
    """The V2 routes for clients, all but inference; load and unload where there is a repository."""
    routes = Routes("Slipway runtime", release)
    _add_server_routes(routes, dataplane, release, has_repository=repository is not None)
    _add_model_routes(routes, dataplane, metrics)
    _add_index_route(routes, dataplane, repository)
    if repository:
        _add_repository_routes(routes, dataplane, repository)
    _add_v1_routes(routes, dataplane)
    return routes


def _add_server_routes(
    routes: Routes, dataplane: DataPlane, release: str, *, has_repository: bool
) -> None:
    @routes.get("/v2", summary="Server metadata")
    @routes.get("/v2/")
    async def server_metadata(request: Request) -> Response:
        return JSONResponse(described.server_metadata(release, has_repository=has_repository))

    @routes.get("/v2/health/live", summary="Server live")
    async def server_live(request: Request) -> Response:
        return JSONResponse({"live": True})

    @routes.get("/v2/health/ready", summary="Server ready")
    async def server_ready(request: Request) -> Response:
        return _readiness(dataplane, {})

    @routes.get("/v2/models", summary="Names of the models")
    async def model_names(request: Request) -> Response:
        return JSONResponse({"models": [dataplane.config.name]})


def _add_model_routes(routes: Routes, dataplane: DataPlane, metrics: Metrics) -> None:
    # Ahead of the models' own paths: no model is called `stats`.
    @routes.get("/v2/models/stats", summary="Statistics of all models")
    async def statistics(request: Request) -> Response:
        return JSONResponse({"model_stats": [described.model_statistics(dataplane, metrics)]})

    @routes.get("/v2/models/{model}/stats", summary="Statistics of a model")
    @routes.get("/v2/models/{model}/versions/{version}/stats", summary="Statistics of a version")
    async def model_statistics(request: Request) -> Response:
        _check_named(dataplane, request)
        return await statistics(request)

    @routes.get("/v2/models/{model}/config", summary="Model configuration")
    @routes.get(
        "/v2/models/{model}/versions/{version}/config", summary="Configuration of a version"
    )
    async def model_config(request: Request) -> Response:
        _check_named(dataplane, request)
        return JSONResponse(described.model_config(dataplane))

    @routes.get("/v2/models/{model}", summary="Model metadata")
    @routes.get("/v2/models/{model}/versions/{version}", summary="Model metadata of a version")
    async def model_metadata(request: Request) -> Response:
        _check_named(dataplane, request)
        return JSONResponse(described.model_metadata(dataplane))

    @routes.get("/v2/models/{model}/ready", summary="Model ready")
    @routes.get("/v2/models/{model}/versions/{version}/ready", summary="Version of a model ready")
    async def model_ready(request: Request) -> Response:
        _check_named(dataplane, request)
        return _readiness(dataplane, {"name": request.path_params["model"]})


def _add_index_route(routes: Routes, dataplane: DataPlane, repository: Repository | None) -> None:
    @routes.post("/v2/repository/index", summary="Models and their states")
    async def repository_index(request: Request) -> Response:
        wanted = await _small_document(request)
        only_ready = wanted.get("ready", False)
        if not isinstance(only_ready, bool):
            raise InvalidRequest(f"ready: got {shown(only_ready)}, expected true or false")
        reason = repository.failure if repository else ""
        index = described.repository_index(dataplane, only_ready=only_ready, reason=reason)
        return JSONResponse(index)


def _check_named(dataplane: DataPlane, request: Request) -> None:
    """Refuse a model or version in the path that is not served."""
    dataplane.check_name(request.path_params["model"], request.path_params.get("version"))


def _add_repository_routes(routes: Routes, dataplane: DataPlane, repository: Repository) -> None:
    @routes.post("/v2/repository/models/{model}/load", summary="Load the model's file again")
    async def load(request: Request) -> Response:
        check_load(await _parameters(request))
        _check_named(dataplane, request)
        await repository.load()
        return Response()

    @routes.post("/v2/repository/models/{model}/unload", summary="Unload the model")
    async def unload(request: Request) -> Response:
        check_unload(await _parameters(request))
        _check_named(dataplane, request)
        await repository.unload()
        return Response()


async def _parameters(request: Request) -> dict[str, Any]:
    found = (await _small_document(request)).get("parameters", {})
    if not isinstance(found, dict):
        raise InvalidRequest(f"parameters: got {shown(found)}, expected an object")
    return found


def _add_v1_routes(routes: Routes, dataplane: DataPlane) -> None:
    """What V1 and TorchServe have beside inference."""

    @routes.get("/", summary="Server live (V1)")
    async def alive(request: Request) -> Response:
        return JSONResponse({"status": "alive"})

    @routes.get("/ping", summary="Server healthy (TorchServe)")
    async def ping(request: Request) -> Response:
        if dataplane.state is State.READY:
            return JSONResponse({"status": "Healthy"})
        return JSONResponse({"status": "Unhealthy"}, 500)

    @routes.get("/v1/models", summary="Names of the models (V1)")
    async def v1_model_names(request: Request) -> Response:
        return JSONResponse({"models": [dataplane.config.name]})

    @routes.get("/v1/models/{model}", summary="Model status (V1)")
    @routes.get("/v1/models/{model}/versions/{version}", summary="Status of a version (V1)")
    @routes.get("/v1/models/{model}/labels/{label}", summary="Status of the labelled version (V1)")
    async def v1_status(request: Request) -> Response:
        _check_v1(dataplane, request)
        status = described_v1.model_status(dataplane)
        if status["ready"]:
            return JSONResponse(status)
        return JSONResponse({**status, **_not_ready(dataplane)}, 503, {"retry-after": "1"})

    @routes.get("/v1/models/{model}/metadata", summary="Model metadata (V1)")
    @routes.get("/v1/models/{model}/versions/{version}/metadata", summary="Version's metadata (V1)")
    async def v1_metadata(request: Request) -> Response:
        _check_v1(dataplane, request)
        return JSONResponse(described_v1.model_metadata(dataplane))

    @routes.post("/v1/models/{model}:{verb}")
    @routes.post("/v1/models/{model}/versions/{version}:{verb}")
    @routes.post("/v1/models/{model}/labels/{version}:{verb}")
    async def not_served(request: Request) -> Response:
        verb = request.path_params["verb"]
        if verb not in ("classify", "regress", "explain"):
            raise HTTPException(HTTPStatus.NOT_FOUND)
        raise NotServed(f"method {shown(verb)}: not served, expected predict")


def _check_v1(dataplane: DataPlane, request: Request) -> None:
    """The same where a version may be the latest, or have a label."""
    named = request.path_params
    version = f"{LABEL}{named['label']}" if "label" in named else named.get("version")
    dataplane.check_name(named["model"], None if version == LATEST else version)


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


def admin_routes(
    dataplane: DataPlane, metrics: Metrics, client: Routes, guard: Guard | None = None
) -> Routes:
    """Probes, metrics, status and the API page of the client surface."""
    routes = Routes("Slipway runtime, admin", client.release)

    @routes.get("/livez")
    async def livez(request: Request) -> Response:
        return JSONResponse({"live": True})

    @routes.get("/readyz")
    async def readyz(request: Request) -> Response:
        return _readiness(dataplane, {})

    @routes.get("/metrics")
    async def metrics_page(request: Request) -> Response:
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    @routes.get("/status")
    async def status(request: Request) -> Response:
        keys = {"authentication": guard.status()} if guard else {}
        # Tasks are what this process forgets where it forgets to end something.
        return JSONResponse({**_status(dataplane), **keys, "tasks": len(asyncio.all_tasks())})

    @routes.get("/openapi.json")
    async def openapi(request: Request) -> Response:
        return JSONResponse(_description(client, dataplane))

    _add_page(routes)
    return routes


def _description(client: Routes, dataplane: DataPlane) -> dict[str, Any]:
    """The OpenAPI document of the client surface, with the model's own names and shapes."""
    model, name, version = dataplane.loaded, dataplane.config.name, dataplane.version
    ours = infer_paths(name, version, model.signature if model else None)
    about = f"Model {name}, version {version}, {dataplane.state.lower()}."
    return {
        "openapi": OPENAPI_VERSION,
        "info": {"title": client.title, "version": client.release, "description": about},
        "paths": {**ours, **other_paths(client.told, {"model": name, "version": version})},
    }


def _add_page(routes: Routes) -> None:
    for path, (name, kind) in _PAGE.items():
        routes.get(path)(_sending((files(page) / name).read_bytes(), kind))


def _sending(content: bytes, kind: str) -> Handler:
    async def send(request: Request) -> Response:
        return Response(content, 200, {"content-security-policy": _PAGE_POLICY}, kind)

    return send


def app_of(routes: Routes, *, then: ASGIApp | None = None) -> ASGIApp:
    """The application of some routes; `then` gets every path that is none of theirs."""
    app = Starlette(
        routes=[*routes.routes, *([Mount("/", then)] if then else [])],
        exception_handlers={
            HTTPException: _routing_error,
            ServingError: _serving_error,
            Exception: _unexpected_error,
        },
    )
    app.router.redirect_slashes = False
    return app


async def _routing_error(request: Request, err: Exception) -> Response:
    if not isinstance(err, HTTPException):
        return await _unexpected_error(request, err)
    return _error(err.status_code, _routing_message(request, err), dict(err.headers or {}))


async def _serving_error(request: Request, err: Exception) -> Response:
    if not isinstance(err, ServingError):
        return await _unexpected_error(request, err)
    return _error(status_of(err), str(err))


async def _unexpected_error(request: Request, err: Exception) -> Response:
    return _error(500, "internal error; the server's log has the cause")


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
        **(described.provenance(model) if model else {}),
    }
