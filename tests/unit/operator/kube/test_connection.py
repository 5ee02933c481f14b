"""The environment is asked for a proxy once, and never for a password."""

from __future__ import annotations

from pathlib import Path

import pytest

from slipway_operator.kube.connection import NotConnected, connect, proxy_for

SERVER = "https://api.example:6443"
PROXY = "http://proxy.example:3128"
KUBECONFIG = f"""
apiVersion: v1
kind: Config
current-context: c
contexts: [{{name: c, context: {{cluster: c, user: u}}}}]
clusters: [{{name: c, cluster: {{server: "{SERVER}"}}}}]
users: [{{name: u, user: {{}}}}]
"""


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("https_proxy", "http_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.mark.parametrize(
    ("server", "environment", "expected"),
    [
        pytest.param(SERVER, {}, None, id="none"),
        pytest.param(SERVER, {"HTTPS_PROXY": PROXY}, PROXY, id="named"),
        pytest.param(SERVER, {"HTTP_PROXY": PROXY}, None, id="of another scheme"),
        pytest.param(
            SERVER, {"HTTPS_PROXY": PROXY, "NO_PROXY": ".example"}, None, id="not for this server"
        ),
        pytest.param(
            SERVER, {"HTTPS_PROXY": PROXY, "NO_PROXY": "elsewhere"}, PROXY, id="not for another"
        ),
        pytest.param("https://", {"HTTPS_PROXY": PROXY}, None, id="no server"),
    ],
)
def test_the_proxy_is_that_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, server: str, environment: dict[str, str], expected: str | None
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert proxy_for(server) == expected


async def test_a_connection_looks_for_nothing_at_each_request(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = tmp_path / "config"
    path.write_text(KUBECONFIG)
    monkeypatch.setenv("KUBECONFIG", str(path))
    monkeypatch.setenv("HTTPS_PROXY", PROXY)
    configuration = (await connect()).configuration
    assert configuration.host == SERVER
    assert configuration.proxy == PROXY
    assert configuration.client_session_kwargs == {"trust_env": False}


@pytest.mark.parametrize(
    ("given", "context", "expected"),
    [
        pytest.param("one", None, (SERVER, ""), id="the current context"),
        pytest.param("one", "d", (SERVER, "prod"), id="another one, with a namespace"),
        pytest.param("gone:one", None, (SERVER, ""), id="a list with a file that is missing"),
    ],
)
async def test_a_kubeconfig_is_chosen_as_kubectl_does(
    tmp_path: Path, given: str, context: str | None, expected: tuple[str, str]
) -> None:
    other = "{name: d, context: {cluster: c, user: u, namespace: prod}}"
    (tmp_path / "one").write_text(KUBECONFIG.replace("contexts: [", f"contexts: [{other}, "))
    paths = ":".join(str(tmp_path / name) for name in given.split(":"))
    found = await connect(paths, context)
    assert (found.configuration.host, found.namespace) == expected


@pytest.mark.parametrize(
    ("text", "context", "expected"),
    [
        pytest.param(KUBECONFIG, "nowhere", "nowhere", id="no such context"),
        pytest.param("{", None, "no API server", id="no YAML"),
        pytest.param(None, None, "there is no kubeconfig", id="no file"),
    ],
)
async def test_a_kubeconfig_that_cannot_be_used_is_told(
    tmp_path: Path, text: str | None, context: str | None, expected: str
) -> None:
    path = tmp_path / "config"
    if text is not None:
        path.write_text(text)
    with pytest.raises(NotConnected, match=expected):
        await connect(str(path), context)
