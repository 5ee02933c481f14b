"""Kubernetes' verbs, resources and names are read from paths as the API server reads them."""

from __future__ import annotations

import pytest

from tests.cluster.faultproxy.target import Target

DIGITS = "/apis/slipway.dev/v1alpha1/namespaces/t1/modeldeployments/digits"


@pytest.mark.parametrize(
    ("method", "path", "query", "body", "expected"),
    [
        pytest.param(
            "GET",
            "/api/v1/pods",
            {},
            b"",
            Target("list", resource="pods"),
            id="a list of the whole cluster",
        ),
        pytest.param(
            "GET",
            "/api/v1/namespaces/t1/pods",
            {"watch": "true"},
            b"",
            Target("watch", resource="pods", namespace="t1"),
            id="a watch in a namespace",
        ),
        pytest.param(
            "GET",
            "/api/v1/namespaces/t1/pods",
            {"watch": "false"},
            b"",
            Target("list", resource="pods", namespace="t1"),
            id="a watch that is none",
        ),
        pytest.param(
            "PATCH",
            f"{DIGITS}/status",
            {},
            b"",
            Target("patch", "slipway.dev", "modeldeployments", "t1", "digits", "status"),
            id="a status is patched",
        ),
        pytest.param(
            "POST",
            "/apis/apps/v1/namespaces/t1/deployments",
            {},
            b'{"metadata": {"name": "d1"}}',
            Target("create", "apps", "deployments", "t1", "d1"),
            id="the name of what is created is in the body",
        ),
        pytest.param(
            "POST",
            "/api/v1/namespaces/t1/events",
            {},
            b"\x00 no JSON",
            Target("create", resource="events", namespace="t1"),
            id="a body that is no JSON has no name",
        ),
        pytest.param(
            "DELETE",
            "/api/v1/namespaces/t1/pods",
            {},
            b"",
            Target("deletecollection", resource="pods", namespace="t1"),
            id="deleting without a name deletes the collection",
        ),
        pytest.param(
            "PUT",
            "/apis/coordination.k8s.io/v1/namespaces/t1/leases/l",
            {},
            b"",
            Target("update", "coordination.k8s.io", "leases", "t1", "l"),
            id="a lease is renewed",
        ),
        pytest.param(
            "GET",
            "/api/v1/namespaces/t1",
            {},
            b"",
            Target("get", resource="namespaces", name="t1"),
            id="a namespace is an object too",
        ),
        pytest.param(
            "PUT",
            "/api/v1/namespaces/t1/finalize",
            {},
            b"",
            Target("update", resource="namespaces", name="t1", subresource="finalize"),
            id="and has subresources",
        ),
        pytest.param("GET", "/version", {}, b"", Target("get"), id="a path without a resource"),
        pytest.param("GET", "/apis/apps/v1", {}, b"", Target("get", "apps"), id="discovery"),
    ],
)
def test_a_request_is_read_as_the_api_server_reads_it(
    method: str, path: str, query: dict[str, str], body: bytes, expected: Target
) -> None:
    assert Target.of(method, path, query, body) == expected
