"""Folders on their way to disk: which names are safe, one digest for all, whole or not at all."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway_runtime.errors import DiskFull, Unsupported
from slipway_runtime.supply import tree as under_test
from slipway_runtime.supply.choice import chosen_model
from slipway_runtime.supply.tree import (
    FOLDER,
    Names,
    Tree,
    check_name,
    digest_of,
    folder_digest,
    is_hidden,
)


def made(into: Path, files: dict[str, bytes], *, max_bytes: int = 2**20, max_files: int = 9) -> str:
    """Write files in the order that is given; the digest of all."""
    with Tree(into, max_bytes=max_bytes, max_files=max_files) as tree:
        for name, content in files.items():
            with tree.file(name) as writer:
                writer.write(content)
        tree.commit()
        return tree.digest


FILES = {"model.onnx": b"graph", "data/b.bin": b"weights", "data/a b.bin": b"", "ü/w": b"w"}


def test_the_digest_is_what_sha256sum_tells(tmp_path: Path) -> None:
    """By the command of the module's docstring, which users are given, too."""
    digest = made(tmp_path, FILES)
    (tmp_path / FOLDER / ".hidden").mkdir()
    (tmp_path / FOLDER / ".hidden" / "x").touch()
    command = next(
        line.strip() for line in str(under_test.__doc__).splitlines() if "find *" in line
    )
    done = subprocess.run(
        ["bash", "-c", command], cwd=tmp_path / FOLDER, capture_output=True, text=True, check=True
    )
    assert digest == f"sha256:{done.stdout.split()[0]}" == folder_digest(tmp_path / FOLDER)


@given(st.permutations(sorted(FILES)))
def test_the_digest_is_the_same_in_any_order(order: list[str]) -> None:
    digests = {name: f"sha256:{name}" for name in FILES}
    assert digest_of({name: digests[name] for name in order}) == digest_of(digests)


@pytest.mark.parametrize("change", ["name", "content", "more", "fewer"])
def test_the_digest_tells_every_change(tmp_path: Path, change: str) -> None:
    files = dict(FILES)
    match change:
        case "name":
            files["data/c.bin"] = files.pop("data/b.bin")
        case "content":
            files["data/b.bin"] = b"other weights"
        case "more":
            files["empty"] = b""
        case _:
            del files["data/a b.bin"]
    assert made(tmp_path / "1", FILES) != made(tmp_path / "2", files)


def test_a_folder_has_its_name_only_when_it_is_whole(tmp_path: Path) -> None:
    with Tree(tmp_path, max_bytes=9, max_files=9) as tree, tree.file("model.onnx") as writer:
        writer.write(b"half")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_takes_the_place_of_one_before(tmp_path: Path) -> None:
    made(tmp_path, {"old.onnx": b"1"})
    made(tmp_path, {"new.onnx": b"2"})
    assert [path.name for path in (tmp_path / FOLDER).iterdir()] == ["new.onnx"]


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("../x", id="C23 a step up"),
        pytest.param("a/../../x", id="C15 a step up further in"),
        pytest.param("/etc/passwd", id="C15 absolute"),
        pytest.param("a//b", id="C23 an empty step"),
        pytest.param("a/", id="C23 a slash at the end"),
        pytest.param("", id="no name"),
        pytest.param("a\\b", id="C16 a backslash"),
        pytest.param("a\nb", id="C22 a line end"),
        pytest.param("a\0b", id="C22 a zero"),
        pytest.param("\ud800", id="C22 half a character"),
        pytest.param("a\u202eb", id="C22 a character that turns the text"),
        pytest.param("x" * 256, id="C22 a long name"),
        pytest.param("/".join("ab" * 20), id="C22 a deep one"),
        pytest.param("/".join(["x" * 250] * 5), id="C22 a long path"),
    ],
)
def test_a_name_that_is_not_safe_is_refused(name: str) -> None:
    with pytest.raises(Unsupported, match="expected a path inside the folder"):
        check_name(name)


@given(st.lists(st.sampled_from([".", "..", "", "a", "ö", "\\", "\x7f"]), min_size=1, max_size=5))
def test_a_safe_name_stays_inside(parts: list[str]) -> None:
    name = "/".join(parts)
    try:
        check_name(name)
    except Unsupported:
        return
    assert (Path("/folder") / name).resolve().is_relative_to("/folder")


@pytest.mark.parametrize(
    "names",
    [
        pytest.param(["model.onnx", "Model.onnx"], id="C22 letters of another case"),
        pytest.param(["a/x", "A/y"], id="C22 folders of another case"),
        pytest.param(["ö", "o\u0308"], id="C22 the same letter in two ways"),
        pytest.param(["a", "a/b"], id="C22 a file and a folder"),
        pytest.param(["a/b", "a"], id="C22 a folder and a file"),
        pytest.param(["a", "a"], id="C15 twice"),
    ],
)
def test_names_that_stand_in_each_others_way_are_refused(names: list[str]) -> None:
    taken = Names()
    taken.add(names[0])
    with pytest.raises(Unsupported, match="rename one of them"):
        taken.add(names[1])


def test_c22_one_file_more_than_allowed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match=r"more than 3 files.*SLIPWAY_RUNTIME_MAX_MODEL_FILES"):
        made(tmp_path, FILES, max_files=3)
    assert list(tmp_path.iterdir()) == []


def test_the_limit_on_size_is_that_of_all_files_together(tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="SLIPWAY_RUNTIME_MAX_MODEL_BYTES"):
        made(tmp_path, {"a": bytes(600), "b": bytes(600)}, max_bytes=1000)


def test_c27_what_cannot_fit_is_refused_before_it_comes(tmp_path: Path) -> None:
    much = shutil.disk_usage(tmp_path).total
    with Tree(tmp_path, max_bytes=2 * much, max_files=9) as tree:
        with pytest.raises(DiskFull, match="are free in"):
            tree.expect(much)
        with tree.file("a") as writer, pytest.raises(DiskFull, match="are free in"):
            writer.expect(much)


def test_hidden_names() -> None:
    assert [is_hidden(n) for n in (".git/x", "a/.b", "a.b", "../x")] == [True, True, False, False]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        pytest.param(["m.onnx", "weights"], "m.onnx", id="the only one"),
        pytest.param(["model.onnx", "a.onnx"], "model.onnx", id="C22 the usual one of several"),
        pytest.param(["v1/a.onnx", "v1/x/model.onnx"], "v1/a.onnx", id="C22 the highest"),
        pytest.param(
            ["model.onnx/weights", "v1/a.onnx"], "v1/a.onnx", id="C22 model.onnx is a folder"
        ),
        pytest.param(["saved_model.pb", "variables/variables.index"], "", id="TensorFlow's"),
        pytest.param(["v1/saved_model.pb", "a/b/saved_model.pb"], "v1", id="C22 its highest"),
        pytest.param(["saved_model.pb", "x/a.onnx"], "x/a.onnx", id="ONNX beside TensorFlow's"),
    ],
)
def test_the_model_of_a_folder_is_chosen(names: list[str], expected: str) -> None:
    assert chosen_model(names) == chosen_model(reversed(names)) == expected


def test_a_format_that_is_named_is_the_one_that_is_chosen() -> None:
    names = ["model.onnx", "tf/saved_model.pb"]
    assert chosen_model(names, "TensorFlow") == "tf"
    assert chosen_model(names, "ONNX") == "model.onnx"
    with pytest.raises(Unsupported, match=r"expected a file \*\.onnx;"):
        chosen_model(["saved_model.pb"], "ONNX")
    with pytest.raises(Unsupported, match=r"expected a file saved_model\.pb;"):
        chosen_model(["model.onnx"], "TensorFlow")


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        pytest.param(["a.onnx", "b.onnx"], "'a.onnx', 'b.onnx' could all be", id="C22 several"),
        pytest.param(["a/model.onnx", "b/model.onnx"], "could all be", id="C22 the usual twice"),
        pytest.param(
            ["a/saved_model.pb", "b/saved_model.pb"],
            "'a/saved_model.pb', 'b/saved_model.pb' could all be",
            id="C22 two of TensorFlow's",
        ),
        pytest.param(["README.md"], r"has 'README.md', expected a file \*.onnx", id="C22 none"),
        pytest.param([f"{i:02}" for i in range(99)], "and 89 more", id="C22 many, and none"),
    ],
)
def test_c22_what_cannot_be_chosen_is_listed(names: list[str], expected: str) -> None:
    with pytest.raises(Unsupported, match=expected):
        chosen_model(names)
