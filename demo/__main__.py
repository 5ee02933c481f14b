"""`python -m demo up|down`: the whole story, from nothing to canaries under traffic."""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from demo import canary, target
from demo.kubernetes import NAMESPACE, SYSTEM, Kubernetes, post
from demo.model import HeldOut, train
from demo.picture import gallery
from demo.screen import command, progress, say, title
from demo.target import DemoFailed, Target

_SHOWN: Final = 5
_BATCH: Final = 50
_TRAFFIC_S: Final = 90
_CLIENT_S: Final = 900
_ASKED: Final = 40
"""Digits that the client asks for in turn."""
_SETTLE_S: Final = 4
_READY: Final = ["wait", "--for=condition=Ready", "mdep/digits", "--timeout=180s"]
_CLIENT: Final = "digits-client"
_SERVICE: Final = f"http://digits.{NAMESPACE}.svc"
_PATH: Final = "/v2/models/digits/infer"


def main(arguments: Sequence[str]) -> int:
    """Run or remove the demonstration; tell the exit status."""
    try:
        chosen = target.choose(os.environ)
        match list(arguments):
            case ["up"]:
                up(chosen)
            case ["down"]:
                down(chosen)
            case _:
                say("usage: python -m demo up|down")
                return 2
    except DemoFailed as failed:
        say(f"\ndemo: {failed}")
        return 1
    except KeyboardInterrupt:
        say("\ndemo: interrupted; `make demo` goes on where it was, `make demo-down` removes it")
        return 130
    return 0


def up(chosen: Target) -> None:
    """Tell the story."""
    start = time.monotonic()
    say("Slipway: one YAML document becomes a production service for a model.")
    kubernetes, images = _prepare(chosen)
    title(3, "Install the operator with Helm")
    with progress("installing"):
        kubernetes.install(images)
    held_out = _publish(kubernetes)
    _serve(kubernetes, held_out)
    _second_version(kubernetes, held_out, images["runtime"])
    _canaries(kubernetes, held_out, images["runtime"], by_gateway=chosen.is_own)
    _close(kubernetes, chosen, time.monotonic() - start)


def _prepare(chosen: Target) -> tuple[Kubernetes, dict[str, str]]:
    title(1, "Build the operator's and the runtime's image")
    target.devcluster("packages")
    images = target.images(chosen)
    for reference in images.values():
        say(f"   {reference}")
    title(2, "Start a real Kubernetes" if chosen.is_own else "Use your Kubernetes")
    target.use(target.start(chosen))
    if chosen.is_own:
        target.devcluster("load-image", "--name", target.CLUSTER, *images.values())
    programs = target.tools()
    kubernetes = Kubernetes(programs["kubectl"], programs["helm"])
    say(kubernetes.run("get", "nodes").rstrip())
    return kubernetes, images


def _publish(kubernetes: Kubernetes) -> HeldOut:
    title(4, "Train versions of a digit classifier and publish them")
    with progress("training on scikit-learn's 1,797 scanned digits"):
        first, second, held_out = train()
        versions = {"v1": first, "v2": second, **canary.models(second, held_out.pixels)}
    manifest = kubernetes.run(
        "create", "namespace", NAMESPACE, "--dry-run=client", "-o", "yaml", show=False
    )
    kubernetes.run("apply", "-f", "-", text=manifest, show=False)
    with tempfile.TemporaryDirectory() as folder:
        for version, model in versions.items():
            file = Path(folder) / version / "model.onnx"
            file.parent.mkdir()
            file.write_bytes(model)
            _configmap(kubernetes, f"digits-{version}", file)
            say(f"   digits-{version}: {len(model):,} bytes of ONNX")
    return held_out


def _configmap(kubernetes: Kubernetes, name: str, file: Path) -> None:
    command(f"kubectl create configmap {name} --from-file={file.name}")
    manifest = kubernetes.run(
        "create", "configmap", name, f"--from-file={file}", "-n", NAMESPACE,
        "--dry-run=client", "-o", "yaml", show=False,
    )  # fmt: skip
    kubernetes.run(
        "apply", "--server-side", "--force-conflicts", "-f", "-", text=manifest, show=False
    )


def _serve(kubernetes: Kubernetes, held_out: HeldOut) -> None:
    title(5, "Apply one YAML document and wait until it serves")
    kubernetes.run("apply", "-n", NAMESPACE, "-f", "examples/digits.yaml")
    with progress("fetching and checking the model, starting two pods"):
        kubernetes.run(*_READY, "-n", NAMESPACE)
    say(kubernetes.run("get", "mdep", "-n", NAMESPACE).rstrip())
    title(6, f"Send {len(held_out.labels)} digits that the model has never seen")
    _judge(kubernetes, held_out)


def _judge(kubernetes: Kubernetes, held_out: HeldOut) -> None:
    with kubernetes.proxy() as services:
        url = f"{services}/digits:http/proxy/v2/models/digits/infer"
        command("curl -d @digits.json http://digits.slipway-demo.svc/v2/models/digits/infer")
        predicted = np.concatenate(
            [_predict(url, held_out.pixels[i : i + _BATCH])
             for i in range(0, len(held_out.labels), _BATCH)]
        )  # fmt: skip
    shown = range(_SHOWN)
    captions = [f"is {held_out.labels[i]}, says {predicted[i]}" for i in shown]
    say(gallery([held_out.pixels[i] for i in shown], captions))
    say(f"\n   accuracy: {np.mean(predicted == held_out.labels):.2f}")


def _request(pixels: Any) -> dict[str, Any]:
    tensor = {"name": "X", "datatype": "FP32", "shape": list(pixels.shape)}
    return {"inputs": [{**tensor, "data": pixels.ravel().tolist()}]}


def _predict(url: str, pixels: Any) -> Any:
    outputs = post(url, _request(pixels))["outputs"]
    label = next(o for o in outputs if o["datatype"] == "INT64")
    return np.array(label["data"])


def _second_version(kubernetes: Kubernetes, held_out: HeldOut, image: str) -> None:
    title(7, "Apply the second version while a client in the cluster keeps asking")
    _start_client(kubernetes, held_out, image)
    lines = kubernetes.logs(_CLIENT)
    before = _follow(lines, lambda total: total.get("version v1", 0) >= 50)
    kubernetes.run("apply", "-n", NAMESPACE, "-f", "examples/digits-v2.yaml")
    with progress("checking the new model, starting its pods, moving the Service"):
        kubernetes.run(*_READY, "-n", NAMESPACE)
    taken = before.get("version v2", 0)
    after = _follow(lines, lambda total: total.get("version v2", 0) >= taken + 200)
    lines.close()
    say(kubernetes.run("get", "mdep", "-n", NAMESPACE).rstrip())
    answers = ", ".join(f"{n:,} by {k}" for k, n in sorted(after.items()) if "version" in k)
    say(f"\n   {after['sent']:,} requests: {answers}")
    say(f"   failed requests: {after['failed']}")
    if after["failed"]:
        raise DemoFailed(f"requests failed while the version changed: {after}")
    _judge(kubernetes, held_out)


def _canaries(kubernetes: Kubernetes, held_out: HeldOut, image: str, *, by_gateway: bool) -> None:
    title(8, "Roll out three more versions as canaries, while the client goes on")
    written = canary.BY_GATEWAY if by_gateway else canary.DOCUMENT
    if by_gateway:  # what gateway a user's cluster has, nobody knows
        entry = canary.open_gateway(kubernetes)
        _start_client(kubernetes, held_out, image, entry=entry, MODEL_HOST=canary.HOST)
    courses = [canary.roll_out(kubernetes, version, written) for version in canary.CANARIES]
    lines = kubernetes.logs(_CLIENT)
    sent = _follow(lines, lambda _: True)["sent"]
    counted = _follow(lines, lambda total: total["sent"] >= sent + 100)
    lines.close()
    kubernetes.run("delete", "pod", _CLIENT, "-n", NAMESPACE, "--wait=false", show=False)
    say(f"\n{canary.table(courses, counted)}")
    say(f"\n   {counted['sent']:,} requests; lost on the way: {canary.lost(counted)}")
    if canary.lost(counted):
        raise DemoFailed(f"requests failed that no bad version had answered: {counted}")


def _start_client(
    kubernetes: Kubernetes, held_out: HeldOut, image: str, entry: str = _SERVICE, **more: str
) -> None:
    source = Path(__file__).with_name("client.py")
    kubernetes.run(
        "delete", "pod", _CLIENT, "-n", NAMESPACE, "--ignore-not-found", "--wait", show=False
    )
    _configmap(kubernetes, _CLIENT, source)
    pixels = held_out.pixels[:_ASKED]
    bodies = json.dumps([_request(p[None]) for p in pixels])
    pod = _client_pod(image, {"MODEL_URL": f"{entry}{_PATH}", "REQUEST_BODIES": bodies, **more})
    kubernetes.run("apply", "-f", "-", text=json.dumps(pod), show=False)
    ready = f"pod/{_CLIENT}"
    kubernetes.run(
        "wait", "--for=condition=Ready", ready, "-n", NAMESPACE, "--timeout=60s", show=False
    )


def _client_pod(image: str, asked: dict[str, str]) -> dict[str, Any]:
    environment = {**asked, "SECONDS": str(_CLIENT_S)}
    container = {
        "name": "client",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["/opt/slipway/bin/python", "/demo/client.py"],
        "env": [{"name": k, "value": v} for k, v in environment.items()],
        "volumeMounts": [{"name": "demo", "mountPath": "/demo"}],
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": _CLIENT, "namespace": NAMESPACE},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "containers": [container],
            "volumes": [{"name": "demo", "configMap": {"name": _CLIENT}}],
        },
    }


def _follow(lines: Any, is_enough: Any) -> dict[str, int]:
    """Read the client's totals until they are enough, or its time is over."""
    until = time.monotonic() + _TRAFFIC_S
    total: dict[str, int] = {}
    for line in lines:
        total = json.loads(line)
        if is_enough(total):
            return total
        if time.monotonic() > until:
            break
    raise DemoFailed(f"the client in the cluster did not get the answers it waits for: {total}")


def _close(kubernetes: Kubernetes, chosen: Target, seconds: float) -> None:
    say(f"\nDone in {seconds:.0f} s. Try next:")
    if chosen.is_own:
        command(f"export KUBECONFIG={os.environ['KUBECONFIG']} PATH={_tools(kubernetes)}:$PATH")
    command(f"kubectl describe mdep digits -n {NAMESPACE}")
    command("kubectl explain mdep.spec.model")
    command(f"kubectl apply -n {NAMESPACE} -f examples/digits.yaml   # back to v1: no second fetch")
    say("`make demo-down` removes everything.")


def _tools(kubernetes: Kubernetes) -> str:
    return str(Path(kubernetes.kubectl).parent)


def down(chosen: Target) -> None:
    """Remove everything that the demonstration made."""
    if chosen.is_own:
        target.devcluster("down", "--name", target.CLUSTER)
        return
    target.use(str(chosen.kubeconfig))
    programs = target.tools()
    kubernetes = Kubernetes(programs["kubectl"], programs["helm"])
    kubernetes.run("delete", "namespace", NAMESPACE, "--ignore-not-found")
    kubernetes.uninstall()
    kubernetes.run("delete", "-f", "crds/", "--ignore-not-found")
    kubernetes.run("delete", "namespace", SYSTEM, "--ignore-not-found")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
