"""Labels that lie in a ConfigMap: what is taken, what is refused, and by which words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from onnx import TensorProto

from slipway_runtime.errors import InvalidConfig, NotFound
from slipway_runtime.pipeline.fuse import fused
from slipway_runtime.pipeline.labels import labels_digest, spelled_out
from slipway_runtime.pipeline.spec import MAX_LABELS, ConfigMapKey, Pipeline
from tests.unit.runtime.pipeline.test_fuse import identity

PLACE: dict[str, Any] = {"configMap": {"name": "classes", "key": "labels.txt"}}
WHERE = "pipeline.postprocess[1].labels: ConfigMap 'classes', key 'labels.txt'"


def pipeline(**labels: Any) -> Pipeline:
    return Pipeline.model_validate({"postprocess": [{"softmax": {}}, {"labels": labels}]})


def named(folder: Path, content: bytes) -> Pipeline:
    """The pipeline, spelled out from a file as it is mounted."""
    file = folder / "classes" / "labels.txt"
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(content)

    def locate(at: ConfigMapKey) -> Path:
        return folder / at.name / at.key

    return spelled_out(pipeline(**PLACE, topK=2), locate)


def names(found: Pipeline) -> tuple[str, ...] | None:
    labels = found.postprocess[1].labels
    assert labels is not None
    assert labels.top_k == 2
    return labels.names


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"ant\nbee\ncat", id="no end of line at the end"),
        pytest.param(b"ant\nbee\ncat\n", id="an end of line at the end"),
        pytest.param(b"ant\nbee\ncat\n\n", id="a blank line at the end"),
        pytest.param(b"ant\r\nbee\r\ncat\r\n", id="lines of Windows"),
        pytest.param(b"\xef\xbb\xbfant\n bee\ncat \n", id="a mark and spaces around"),
    ],
)
def test_a_label_a_line(tmp_path: Path, content: bytes) -> None:
    assert names(named(tmp_path, content)) == ("ant", "bee", "cat")


def test_two_classes_may_have_one_name(tmp_path: Path) -> None:
    """As two have in the usual list of ImageNet."""
    assert names(named(tmp_path, b"crane\nbee\ncrane\n")) == ("crane", "bee", "crane")


def test_what_is_written_in_the_spec_has_no_digest_and_stays(tmp_path: Path) -> None:
    written = pipeline(names=["a", "b"])
    assert spelled_out(written, lambda _: tmp_path) == written
    assert labels_digest(written) is None


def test_the_digest_is_that_of_the_names(tmp_path: Path) -> None:
    first = labels_digest(named(tmp_path, b"ant\nbee\n"))
    assert first == labels_digest(named(tmp_path, b"ant\r\nbee"))
    assert first != labels_digest(named(tmp_path, b"bee\nant\n"))
    assert str(first).startswith("sha256:")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param(b"", ": got 0 labels, expected 1 to", id="nothing"),
        pytest.param(b"\n\n", ": got 0 labels, expected 1 to", id="blank lines alone"),
        pytest.param(b"a\n\nb\n", ", line 2: is empty, expected a label on each", id="a gap"),
        pytest.param(b"a\nb\x00\n", ", line 2: got 'b\\x00', expected no control", id="a NUL"),
        pytest.param(b"0\ta\n1\tb\n", ", line 1: got '0\\ta', expected no control", id="a table"),
        pytest.param(b"a" * 1025, ", line 1: has 1025 characters, expected at most 1024",
                     id="a long line"),
        pytest.param(b"a\n\xff\n", ": byte 2 is no UTF-8, expected text", id="no text"),
        pytest.param(b"a" * (2**20 + 1), ": expected at most 100000 labels in 1048576 bytes",
                     id="more than a ConfigMap holds"),
        pytest.param(b"\n" * (2 * MAX_LABELS + 1), ": expected at most 100000 labels",
                     id="nothing but lines"),
    ],
)  # fmt: skip
def test_what_is_no_list_of_labels_is_refused(
    tmp_path: Path, content: bytes, expected: str
) -> None:
    with pytest.raises(InvalidConfig) as caught:
        named(tmp_path, content)
    assert f"{WHERE}{expected}" in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"'labels\.txt': cannot be read \(No such file"):
        spelled_out(pipeline(**PLACE), lambda _: tmp_path / "none")


def test_names_and_a_configmap_are_one_too_many(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfig, match="got names and configMap, expected one of them"):
        spelled_out(pipeline(**PLACE, names=["a"]), lambda _: tmp_path)


def test_another_number_than_there_are_classes_names_the_configmap(tmp_path: Path) -> None:
    model = identity(TensorProto.FLOAT, ["n", 4])
    with pytest.raises(InvalidConfig) as caught:
        fused(model, named(tmp_path, b"ant\nbee\ncat\n"))
    assert str(caught.value) == (
        "pipeline.postprocess[1].labels: got 3 names in ConfigMap 'classes', key 'labels.txt', "
        "expected 4, one per class"
    )
