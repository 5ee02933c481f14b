"""Folders of stores and volumes: what is listed is not believed, and is only so much."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import pytest

from slipway_runtime.errors import AccessDenied, NotFound, SupplyError, Unavailable, Unsupported
from slipway_runtime.supply.claim import fetch_claim_folder
from slipway_runtime.supply.folders import fetch_remote_folder
from slipway_runtime.supply.http import Store
from slipway_runtime.supply.retry import Patience
from slipway_runtime.supply.s3 import S3Place
from slipway_runtime.supply.sources import Remote, Stores
from slipway_runtime.supply.tree import FOLDER, Tree
from tests.unit.runtime.store import StoreDouble, says

COMMIT: Final = "0123456789" * 4
MAX_FILES: Final = 1500


def page(keys: Sequence[str], token: str = "") -> bytes:
    """A page of S3's list."""
    more = f"<NextContinuationToken>{token}</NextContinuationToken>" if token else ""
    objects = "".join(f"<Contents><Key>{key}</Key><Size>1</Size></Contents>" for key in keys)
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"<IsTruncated>{str(bool(token)).lower()}</IsTruncated>{more}{objects}</ListBucketResult>"
    ).encode()


def fetched(into: Path, store_double: StoreDouble, uri: str) -> set[str]:
    """Fetch a folder; the files that came."""
    base = store_double.url("")
    known = Stores(s3=S3Place(base), gs_endpoint=base, hf_endpoint=base)
    with (
        Store(Patience(attempts=1, sleep=lambda _: None)) as store,
        Tree(into, max_bytes=2**20, max_files=MAX_FILES) as tree,
    ):
        fetch_remote_folder(uri.partition("://")[0], uri, tree, Remote(store, None, known))
        tree.commit()
    found = into / FOLDER
    return {p.relative_to(found).as_posix() for p in found.rglob("*") if p.is_file()}


def lists(store_double: StoreDouble, *pages: bytes, names: Sequence[str] = ()) -> None:
    """Let bucket `models` have pages, and the objects that they name."""
    store_double.answers["/models/"] = [says(200, raw) for raw in pages]
    for name in names:
        store_double.answers[f"/models/v1/{name}"] = [says(200, b"x")]


def test_c23_all_pages_of_a_list_are_read(tmp_path: Path, store_double: StoreDouble) -> None:
    names = [f"{number:04}.bin" for number in range(30)]
    pages = [names[:10], names[10:20], names[20:]]
    lists(
        store_double,
        *(page([f"v1/{n}" for n in part], "+/=" * (part is not pages[-1])) for part in pages),
        names=names,
    )
    assert fetched(tmp_path, store_double, "s3://models/v1/") == set(names)
    asked = [path for path, _ in store_double.seen if path.startswith("/models/?")]
    assert [("continuation-token=%2B%2F%3D" in path) for path in asked] == [False, True, True]


def test_c23_marks_of_folders_are_no_files(tmp_path: Path, store_double: StoreDouble) -> None:
    keys = ["v1/", "v1/a.onnx", "v1/sub/", "v1/sub_$folder$", "v1/.hidden"]
    lists(store_double, page(keys), names=["a.onnx"])
    assert fetched(tmp_path, store_double, "s3://models/v1/") == {"a.onnx"}


def test_c23_keys_are_as_the_store_has_them(tmp_path: Path, store_double: StoreDouble) -> None:
    lists(store_double, page(["v1/a%20b%2Bc+d.onnx"]))
    store_double.answers["/models/v1/a%20b%2Bc%20d.onnx"] = [says(200, b"x")]
    assert fetched(tmp_path, store_double, "s3://models/v1/") == {"a b+c d.onnx"}


@pytest.mark.parametrize(
    ("raw", "kind", "message"),
    [
        pytest.param(page(["v1/../../x"]), Unsupported, "inside the folder", id="C23 a step up"),
        pytest.param(page(["v1//x"]), Unsupported, "inside the folder", id="C23 an empty step"),
        pytest.param(page(["/etc/x"]), Unsupported, "inside the folder", id="C23 another prefix"),
        pytest.param(page([]), NotFound, "no files below it", id="C23 nothing"),
        pytest.param(page(["v1/"]), NotFound, "no files below it", id="C23 only a mark"),
        pytest.param(
            page([f"v1/{n}" for n in range(MAX_FILES + 1)]), Unsupported, "more than 1500 files",
            id="C22 too many files",
        ),
        pytest.param(b"<html>", Unavailable, "expected XML", id="no list"),
        pytest.param(
            b'<!DOCTYPE a [<!ENTITY b "bb">]><a>&b;</a>', Unavailable, "a document type",
            id="C19 entities",
        ),
        pytest.param(
            page(["v1/x"]).replace(b"<Size>1<", b"<Size>9999999999<"), Unsupported,
            "SLIPWAY_RUNTIME_MAX_MODEL_BYTES", id="more than allowed",
        ),
    ],
)  # fmt: skip
def test_a_list_that_is_not_safe_is_refused(
    tmp_path: Path, store_double: StoreDouble, raw: bytes, kind: type[SupplyError], message: str
) -> None:
    lists(store_double, raw)
    with pytest.raises(kind, match=message):
        fetched(tmp_path, store_double, "s3://models/v1/")
    assert [path for path, _ in store_double.seen if not path.startswith("/models/?")] == []


def test_a_list_without_end_is_given_up(tmp_path: Path, store_double: StoreDouble) -> None:
    lists(store_double, page([f"v1/{n}" for n in range(200)], "again"))
    with pytest.raises(Unsupported, match="more than 1500 files"):
        fetched(tmp_path, store_double, "s3://models/v1/")


def test_google_lists_in_pages_too(tmp_path: Path, store_double: StoreDouble) -> None:
    def listed(*names: str, **more: Any) -> bytes:
        items = [{"name": f"v1/{name}", "size": "1"} for name in names]
        return json.dumps({"items": items, **more}).encode()

    store_double.answers["/storage/v1/b/models/o"] = [
        says(200, listed("a.onnx", "sub/", nextPageToken="2")),
        says(200, listed("b c.bin")),
    ]
    for name in ("a.onnx", "b%20c.bin"):
        store_double.answers[f"/storage/v1/b/models/o/v1%2F{name}"] = [says(200, b"x")]
    assert fetched(tmp_path, store_double, "gs://models/v1/") == {"a.onnx", "b c.bin"}


def test_a_hub_that_sends_its_lists_elsewhere_is_not_followed(
    tmp_path: Path, store_double: StoreDouble
) -> None:
    """The token would go along."""
    page = says(200, b"[]", Link='<https://evil.example/next>; rel="next"')
    store_double.answers[f"/api/models/team/digits/tree/{COMMIT}/onnx"] = [page]
    with pytest.raises(Unavailable, match=r"list at 'https://evil\.example/next'"):
        fetched(tmp_path, store_double, f"hf://team/digits@{COMMIT}/onnx/")


def test_the_root_of_a_repository_is_a_folder(tmp_path: Path, store_double: StoreDouble) -> None:
    listed = [{"type": "file", "path": "a/m.onnx", "size": 1}, {"type": "directory", "path": "a"}]
    tree = f"/api/models/team/digits/tree/{COMMIT}"
    store_double.answers[tree] = [says(200, json.dumps(listed).encode())]
    store_double.answers[f"/team/digits/resolve/{COMMIT}/a/m.onnx"] = [says(200, b"x")]
    assert fetched(tmp_path, store_double, f"hf://team/digits@{COMMIT}/") == {"a/m.onnx"}


def claimed(folder: Path, uri: str = "pvc://models/v1/", *, max_files: int = 9) -> set[str]:
    with Tree(folder / "into", max_bytes=2**20, max_files=max_files) as tree:
        fetch_claim_folder(uri, tree, folder=folder / "claim")
        tree.commit()
    found = folder / "into" / FOLDER
    return {p.relative_to(found).as_posix() for p in found.rglob("*") if p.is_file()}


@pytest.fixture
def claim(tmp_path: Path) -> Path:
    """A claim with a folder."""
    made = tmp_path / "claim" / "v1"
    (made / "sub").mkdir(parents=True)
    (made / "m.onnx").write_bytes(b"x")
    (made / "sub" / "w.bin").write_bytes(b"x")
    (made / ".git").mkdir()
    (made / ".git" / "config").write_bytes(b"x")
    (tmp_path / "secret").write_text("s3cret")
    return made


@pytest.mark.parametrize("uri", ["pvc://models/v1/", "pvc://models/current/"])
def test_a_folder_of_a_claim_is_copied(tmp_path: Path, claim: Path, uri: str) -> None:
    """Also by a link that leads to it, as tools leave it that switch versions."""
    (claim.parent / "current").symlink_to("v1")
    assert claimed(tmp_path, uri) == {"m.onnx", "sub/w.bin"}


def test_a_whole_claim_is_a_folder(tmp_path: Path, claim: Path) -> None:
    assert claimed(tmp_path, "pvc://models/") == {"v1/m.onnx", "v1/sub/w.bin"}


def test_c26_a_link_out_of_the_claim_is_refused(tmp_path: Path, claim: Path) -> None:
    (claim / "weights").symlink_to(tmp_path / "secret")
    with pytest.raises(AccessDenied, match="leads out of the claim"):
        claimed(tmp_path)


def test_c26_a_folder_out_of_the_claim_is_refused(tmp_path: Path, claim: Path) -> None:
    (claim.parent / "out").symlink_to(tmp_path)
    with pytest.raises(AccessDenied, match="leads out of the claim"):
        claimed(tmp_path, "pvc://models/out/")


def test_c26_a_link_to_a_folder_is_refused(tmp_path: Path, claim: Path) -> None:
    (claim / "loop").symlink_to(".")
    with pytest.raises(Unsupported, match=r"'loop' below .* is a link to a folder"):
        claimed(tmp_path)


def test_c22_a_claim_of_many_files_is_refused_before_one_is_copied(
    tmp_path: Path, claim: Path
) -> None:
    for number in range(100):
        (claim / f"{number}").touch()
    with pytest.raises(Unsupported, match="more than 9 files"):
        claimed(tmp_path)


def test_a_folder_that_is_not_there_names_what_is(tmp_path: Path, claim: Path) -> None:
    with pytest.raises(NotFound, match=r"is no folder; the folder has 'v1'"):
        claimed(tmp_path, "pvc://models/v2/")
