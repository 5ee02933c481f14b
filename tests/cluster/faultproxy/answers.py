"""Refuse in the words of a real API server.

Source: recorded from Kubernetes 1.36 (`hostile-inputs.md` 3.1).
"""

from __future__ import annotations

from tests.cluster.faultproxy.faults import Answer, Cause


def unauthorized() -> Answer:
    """401: the token or the certificate is not accepted."""
    return Answer(401, "Unauthorized", "Unauthorized", names_object=False)


def forbidden(user: str = "system:serviceaccount:slipway-system:slipway-operator") -> Answer:
    """403: RBAC does not give the right."""
    return Answer(
        403,
        "Forbidden",
        f'{{object}} is forbidden: User "{user}" cannot {{verb}} resource "{{resource}}" '
        'in API group "{group}" {where}',
    )


def quota_exceeded(what: str = "services") -> Answer:
    """403: a ResourceQuota is used up."""
    return Answer(
        403,
        "Forbidden",
        f"{{object}} is forbidden: exceeded quota: rq, requested: {what}=1, used: {what}=0, "
        f"limited: {what}=0",
    )


def namespace_terminating() -> Answer:
    """403: the namespace is being deleted."""
    return Answer(
        403,
        "Forbidden",
        "{object} is forbidden: unable to create new content in namespace {namespace} "
        "because it is being terminated",
        (
            Cause(
                "namespace {namespace} is being terminated",
                "NamespaceTerminating",
                "metadata.namespace",
            ),
        ),
    )


def not_found() -> Answer:
    """404: no such object."""
    return Answer(404, "NotFound", "{object} not found")


def no_such_path() -> Answer:
    """404: the API server does not know the resource at all, as when the CRD is gone."""
    return Answer(404, message="404 page not found\n")


def already_exists() -> Answer:
    """409: an object of that name is there."""
    return Answer(409, "AlreadyExists", "{object} already exists")


def conflict() -> Answer:
    """409: a resourceVersion is stale."""
    return Answer(
        409,
        "Conflict",
        "Operation cannot be fulfilled on {object}: the object has been modified; "
        "please apply your changes to the latest version and try again",
    )


def apply_conflict(manager: str = "a", field: str = ".spec.replicas") -> Answer:
    """409: another field manager owns a field of a server-side apply."""
    return Answer(
        409,
        "Conflict",
        f'Apply failed with 1 conflict: conflict with "{manager}": {field}',
        (Cause(f'conflict with "{manager}"', "FieldManagerConflict", field),),
        names_object=False,
    )


def expired() -> Answer:
    """410: a list at a resourceVersion that was compacted away."""
    return Answer(
        410,
        "Expired",
        "The resourceVersion for the provided list is too old.",
        names_object=False,
    )


def too_large() -> Answer:
    """413: a body of more than 3 MiB."""
    return Answer(
        413,
        "RequestEntityTooLarge",
        "Request entity too large: limit is 3145728",
        names_object=False,
    )


def too_many_requests(retry_after_s: int = 1) -> Answer:
    """429: a CRD was just made again."""
    return Answer(
        429,
        "TooManyRequests",
        "storage is (re)initializing",
        retry_after_s=retry_after_s,
        names_object=False,
    )


def overloaded(retry_after_s: int = 1) -> Answer:
    """429: priority and fairness rejects; the body is plain text."""
    return Answer(
        429,
        message="Too many requests, please try again later.\n",
        retry_after_s=retry_after_s,
    )


def internal_error() -> Answer:
    """500: a webhook with failurePolicy Fail is down."""
    failure = 'failed calling webhook "w.ex.io": failed to call webhook: connection refused'
    return Answer(
        500,
        "InternalError",
        f"Internal error occurred: {failure}",
        (Cause(failure),),
        names_object=False,
    )


def unavailable(retry_after_s: int | None = None) -> Answer:
    """503: the API server starts, stops, or cannot reach an aggregated one."""
    return Answer(
        503,
        "ServiceUnavailable",
        "the server is currently unable to handle the request",
        retry_after_s=retry_after_s,
        names_object=False,
    )


def future_resource_version() -> Answer:
    """504: a list at a resourceVersion that this API server has not reached."""
    return Answer(
        504,
        "Timeout",
        "Timeout: Too large resource version: 99999999, current: 809",
        (Cause("Too large resource version", "ResourceVersionTooLarge"),),
        retry_after_s=1,
        names_object=False,
    )
