"""What goes into an image, and so into its tag."""

import hashlib
import json
import os
import tarfile
from pathlib import Path

import pytest

from devcluster.cache import content_key, keep_newest, tree_entries
from devcluster.errors import DevclusterError
from devcluster.images import archive_of, copied_paths, pip_configuration, uv_configuration
from devcluster.scratch_image import write_scratch_image


@pytest.mark.parametrize(
    ("dockerfile", "expected"),
    [
        pytest.param("COPY a.toml b.md ./", ["a.toml", "b.md"], id="several files"),
        pytest.param("COPY operator/ operator/", ["operator"], id="a folder"),
        pytest.param("COPY --from=build /opt /opt", [], id="another stage is no input"),
        pytest.param("COPY --chown=1:1 a b /x", ["a", "b"], id="a flag is no path"),
        pytest.param("copy a b", ["a"], id="lower case"),
        pytest.param("COPY a \\\n  b \\\n  ./", ["a", "b"], id="over several lines"),
        pytest.param("RUN cp a b\n# COPY c d", [], id="other instructions and comments"),
    ],
)
def test_copied_paths(dockerfile: str, expected: list[str]) -> None:
    assert copied_paths(dockerfile) == expected


def test_a_copy_in_brackets_is_refused_rather_than_misread() -> None:
    with pytest.raises(DevclusterError, match="without brackets"):
        copied_paths('COPY ["a b", "c"]')


def test_where_one_input_ends_counts_for_the_key() -> None:
    assert content_key(["ab", "c"]) != content_key(["a", "bc"])
    assert content_key(["ab"]) != content_key(["ab", ""])


def test_bytecode_is_no_input(tmp_path: Path) -> None:
    for name in ("pkg/b.py", "pkg/a.py", "pkg/__pycache__/a.cpython-311.pyc", "x.toml"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    entries = tree_entries(tmp_path, [tmp_path / "x.toml", tmp_path / "pkg"])
    assert [name for name, _ in entries] == ["pkg/a.py", "pkg/b.py", "x.toml"]


def test_pip_inside_a_build_sees_this_machines_index() -> None:
    environment = {"PIP_INDEX_URL": "https://mirror.test/simple", "PIP_FIND_LINKS": "/elsewhere"}
    assert pip_configuration(environment).splitlines() == [
        "[global]",
        "cert = /etc/ssl/certs/ca-certificates.crt",
        "index-url = https://mirror.test/simple",
    ]


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        pytest.param({}, "native-tls = true\n", id="nothing special"),
        pytest.param(
            {"PIP_INDEX_URL": "https://p.test", "UV_DEFAULT_INDEX": "https://u.test"},
            'native-tls = true\nindex-url = "https://u.test"\n',
            id="uv's own setting wins",
        ),
        pytest.param(
            {"PIP_INDEX_URL": "https://p.test"},
            'native-tls = true\nindex-url = "https://p.test"\n',
            id="pip's is taken else",
        ),
    ],
)
def test_uv_inside_a_build(environment: dict[str, str], expected: str) -> None:
    assert uv_configuration(environment) == expected


@pytest.mark.parametrize(
    "image",
    [
        pytest.param("localhost/slipway-operator:dev-0123456789ab", id="never built"),
        pytest.param("localhost/slipway-../../etc:dev-0", id="a path"),
        pytest.param("python:3.12", id="somebody else's"),
    ],
)
def test_an_image_without_an_archive_is_refused(
    image: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLIPWAY_CACHE", str(tmp_path))
    with pytest.raises(DevclusterError, match="not built here"):
        archive_of(image)


def test_the_newest_are_kept(tmp_path: Path) -> None:
    for age, name in enumerate(["new", "middle", "old"]):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (1000 - age, 1000 - age))
    assert keep_newest(tmp_path.iterdir(), 2) == [tmp_path / "old"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["middle", "new"]


def test_a_scratch_image_is_reproducible_and_names_its_layer(tmp_path: Path) -> None:
    (tmp_path / "program").write_bytes(b"\x7fELF")
    archives = [tmp_path / "one.tar", tmp_path / "two.tar"]
    for archive in archives:
        files = {"program": tmp_path / "program"}
        write_scratch_image(archive, "localhost/x:1", files, entrypoint=["/program"])
    assert archives[0].read_bytes() == archives[1].read_bytes()

    with tarfile.open(archives[0]) as tar:
        contents = {name: _content(tar, name) for name in tar.getnames()}
    (manifest,) = json.loads(contents["manifest.json"])
    config = json.loads(contents[manifest["Config"]])
    layer = contents[manifest["Layers"][0]]
    assert manifest["RepoTags"] == ["localhost/x:1"]
    assert config["config"]["Entrypoint"] == ["/program"]
    assert config["config"]["User"] == "65532:65532"
    assert config["rootfs"]["diff_ids"] == [f"sha256:{hashlib.sha256(layer).hexdigest()}"]


def _content(tar: tarfile.TarFile, name: str) -> bytes:
    stream = tar.extractfile(name)
    assert stream is not None
    return stream.read()
