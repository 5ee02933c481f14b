"""The command line: verbs, exit codes, laptop mode."""

import json
import re
import shlex
import subprocess
import sys
import textwrap
from pathlib import Path

import httpx
import pytest

from tests.unit.runtime import models
from tests.unit.runtime.processes import environment, runtime, serving
from tests.unit.runtime.store import StoreDouble, sends

MANIFEST = """\
apiVersion: slipway.dev/v1alpha1
kind: ModelDeployment
metadata: {name: digits}
spec:
  model: {uri: "%s", version: v1}
  serving: {warmup: {requests: 1}}
  replicas: 3
  rollout: {strategy: Canary}
"""


def manifest(folder: Path, uri: str, extra: str = "") -> Path:
    path = folder / "mdep.yaml"
    path.write_text(MANIFEST % uri + extra)
    return path


@pytest.mark.parametrize("arguments", [(), ("serve",), ("fetch",), ("bake",)])
def test_wrong_arguments_end_with_2(arguments: tuple[str, ...]) -> None:
    assert runtime(*arguments).returncode == 2


def test_a_missing_extra_is_named() -> None:
    hidden = (
        "import sys; sys.modules['pydantic'] = None\n"
        "from slipway_runtime.__main__ import main; sys.exit(main(['inspect', 'x']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", hidden], capture_output=True, text=True, check=False
    )
    assert done.returncode == 3
    assert "install the extra: pip install '.[runtime]'" in done.stderr


def test_help_needs_no_dependency() -> None:
    hidden = (
        "import sys; sys.modules['pydantic'] = None\n"
        "from slipway_runtime.__main__ import main; main(['serve', '--help'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", hidden], capture_output=True, text=True, check=False
    )
    assert (done.returncode, "MODEL.onnx" in done.stdout) == (0, True)


def test_inspect_prints_the_signature(affine_model: Path) -> None:
    done = runtime("inspect", affine_model)
    assert done.returncode == 0
    assert "input      x  FP32  [-1, 4]\noutput     scores  FP32  [-1, 3]" in done.stdout
    assert "framework  tests" in done.stdout
    assert "curl -s http://127.0.0.1:8080/v2/models/affine/infer -d '{" in done.stdout


def test_what_a_laptop_is_told_works_as_it_stands(tmp_path: Path) -> None:
    """The start of `serve` prints commands; a shell and Python run them, quotes in names or not."""
    model = models.saved(models.negating("it's"), tmp_path / "m.onnx")
    command = [sys.executable, "-m", "slipway_runtime", "serve", str(model)]
    free = environment(http_port=0, grpc_port=0, admin_port=0)
    with subprocess.Popen(
        command, env=free, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        assert process.stdout
        lines = []
        while "print(json.load(answer)" not in (line := process.stdout.readline()):
            lines.append(line)
        lines.append(line)
        try:
            page = httpx.get(_word(lines, r"http://\S+/docs"), trust_env=False)
            told = [line.strip() for line in lines if line.startswith("  curl")]
            answers = [_curl(*shlex.split(command)) for command in told]
            start = next(i for i, line in enumerate(lines) if line.startswith("  import"))
            snippet = textwrap.dedent("".join(lines[start:]))
            printed = _run([sys.executable, "-c", snippet])
        finally:
            process.kill()
    assert page.status_code == 200
    v2, plain = map(json.loads, answers)
    assert v2["outputs"][0]["data"] == [0, 0]
    assert plain["prediction"] == [[0, 0]]
    assert "'data': [-0.0, -0.0]" in printed


def _word(lines: list[str], pattern: str) -> str:
    found = re.search(pattern, "".join(lines))
    assert found, lines
    return found[0]


def _curl(program: str, silent: str, url: str, option: str, body: str) -> str:
    """What curl would do; not every machine has it."""
    assert (program, silent, option) == ("curl", "-s", "-d")
    form = {"content-type": "application/x-www-form-urlencoded"}
    return httpx.post(url, content=body, headers=form, trust_env=False).text


def _run(command: list[str]) -> str:
    kept = {k: v for k, v in environment().items() if k != "PYTHONPATH"}
    return subprocess.run(command, env=kept, capture_output=True, text=True, check=True).stdout


def test_names_of_a_hostile_model_cannot_steer_the_terminal(tmp_path: Path) -> None:
    model = models.saved(models.negating("\x1b[2J'\n"), tmp_path / "m.onnx")
    done = runtime("inspect", model)
    assert (done.returncode, "\x1b" in done.stdout) == (0, False)
    assert 'input      "\\x1b[2J\'\\n"  FP32  [-1, 2]\n' in done.stdout


def test_a_large_request_is_given_in_python_only(tmp_path: Path) -> None:
    large = models.identity("FP32", shape=[1, 3, 224, 224])
    done = runtime("inspect", models.saved(large, tmp_path / "m.onnx"))
    assert ("curl" in done.stdout, "'data': [0.0] * 150528" in done.stdout) == (False, True)


def test_inspect_says_why_a_model_cannot_be_served(tmp_path: Path) -> None:
    done = runtime("inspect", models.saved(models.sequence(), tmp_path / "list.onnx"))
    assert (done.returncode, done.stdout) == (10, "")
    assert "output 'y' is seq(tensor(float)), expected a tensor of" in done.stderr


def test_inspect_of_nothing_says_so(tmp_path: Path) -> None:
    done = runtime("inspect", tmp_path / "none.onnx")
    assert (done.returncode, "is no file" in done.stderr) == (10, True)


def test_a_laptop_serves_the_yaml_that_would_be_applied(
    tmp_path: Path, affine_model: Path, store_double: StoreDouble, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    store_double.answers["/m.onnx"] = [sends(affine_model.read_bytes())]
    with serving("-f", manifest(tmp_path, store_double.url("/m.onnx"))) as server:
        server.wait_for("ready")
        answer = httpx.get(f"{server.url}/v2/models/digits/ready", trust_env=False)
        listening = server.wait_for("listening")
    assert (answer.status_code, answer.headers["x-model-version"]) == (200, "v1")
    assert listening["host"] == "127.0.0.1"
    assert (tmp_path / "slipway/models/default-digits/model.onnx").is_file()


def test_a_laptop_takes_a_file_in_place_of_the_uri(tmp_path: Path, affine_model: Path) -> None:
    path = manifest(tmp_path, "configmap://m/k")
    with serving("-f", path, "--model", affine_model) as server:
        server.wait_for("ready")


@pytest.mark.parametrize("way", ["uri", "--model", "alone"])
def test_a_laptop_serves_the_model_of_a_folder(
    tmp_path: Path, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its weights beside it, and what is no model; a slash means a folder as in a cluster."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = models.with_data(tmp_path / "digits").parent
    (folder / "README.md").touch()
    match way:
        case "uri":
            arguments: tuple[object, ...] = ("-f", manifest(tmp_path, f"{folder.as_uri()}/"))
        case "--model":
            arguments = ("-f", manifest(tmp_path, "configmap://m/k"), "--model", folder)
        case _:
            arguments = (folder,)
    with serving(*arguments) as server:
        server.wait_for("ready")
        answer = httpx.get(f"{server.url}/v2/models/digits/ready", trust_env=False)
    assert answer.status_code == 200


def test_a_folder_with_several_models_is_not_guessed_at(tmp_path: Path) -> None:
    for name in ("a.onnx", "b.onnx"):
        models.saved(models.affine(), tmp_path / name)
    done = runtime("serve", tmp_path)
    assert (done.returncode, "'a.onnx', 'b.onnx' could all be the model" in done.stderr) == (
        10,
        True,
    )


@pytest.mark.parametrize(
    ("uri", "extra", "code", "expected"),
    [
        pytest.param("file:///no/such/", "", 10, "is no folder", id="a folder that is not there"),
        pytest.param("configmap://m/k", "", 2, "give the file with --model FILE", id="a ConfigMap"),
        pytest.param(
            "https://x/m",
            "  tokenizer: {}\n",
            2,
            "spec.tokenizer: not served by this release, expected one of model, pipeline, serving,"
            " security",
            id="a block of a later release",
        ),
        pytest.param(
            "ftp://b/k", "", 10, "expected one of https://", id="a scheme of a later release"
        ),
        pytest.param("file:///no/such/file", "", 10, "No such file", id="a file that is not there"),
    ],
)
def test_what_a_laptop_cannot_serve_is_told(
    tmp_path: Path, uri: str, extra: str, code: int, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    done = runtime("serve", "-f", manifest(tmp_path, uri, extra))
    assert (done.returncode, expected in done.stderr) == (code, True), done.stderr


@pytest.mark.parametrize("text", ["{", "[]", "kind: Pod", ""])
def test_what_is_no_model_deployment_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(text)
    assert runtime("serve", "-f", path).returncode == 2


def test_a_misspelt_setting_stops_every_verb(affine_model: Path) -> None:
    done = runtime("serve", affine_model, htpp_port=1)
    assert done.returncode == 2
    assert "did you mean SLIPWAY_RUNTIME_HTTP_PORT?" in done.stderr


def test_logs_are_json_lines() -> None:
    done = runtime("serve", "-f", "/no/such.yaml")
    assert [json.loads(line)["level"] for line in done.stderr.splitlines()] == ["ERROR"]
    assert environment()["PATH"]
