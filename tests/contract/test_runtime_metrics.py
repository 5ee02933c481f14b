"""What a running server exposes is what `docs/metrics.md` says, word for word."""

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from slipway_operator.engine.scrape import parsed
from slipway_runtime.monitoring.metrics import BATCH_EDGES, DURATION_EDGES_S
from tests.unit.runtime import models
from tests.unit.runtime.processes import serving

ROOT = Path(__file__).parents[2]
ROW = re.compile(r"^\| `(slipway_\w+)` \| (\w+) \| (.+?) \|", re.MULTILINE)
SUFFIXES = re.compile(r"_(bucket|sum|count)$")
IDENTITY = {"model", "version", "revision"}

Table = dict[str, tuple[str, frozenset[str]]]


def documented() -> Table:
    """Name → type and labels, from the table."""
    text = (ROOT / "docs/metrics.md").read_text()
    return {
        name: (kind, frozenset(re.findall(r"`(\w+)`", labels)) | IDENTITY)
        for name, kind, labels in ROW.findall(text)
    }


@pytest.fixture(scope="module")
def scraped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    model = models.saved(models.affine(), tmp_path_factory.mktemp("metrics") / "digits.onnx")
    good = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [2, 4], "data": [0] * 8}]}
    with serving(model, max_inflight_bytes="1Mi") as server:
        server.wait_for("ready")
        url = f"{server.url}/v2/models/digits/infer"
        with httpx.Client(trust_env=False) as client:
            assert client.post(url, json=good).status_code == 200
            assert client.post(url, json={}).status_code == 400
            for number in range(50):
                client.post(f"{server.url}/v2/models/m{number}/infer", json={})
            yield client.get(f"{server.admin}/metrics").text


def exposed(text: str) -> Table:
    found: Table = {}
    for family in text_string_to_metric_families(text):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        labels = frozenset(key for sample in family.samples for key in sample.labels) - {"le"}
        found[name] = (family.type, labels)
    return found


def test_names_types_and_labels_are_the_documented_ones(scraped: str) -> None:
    found, expected = exposed(scraped), documented()
    # Counters without a child yet have no labels to compare.
    assert found["slipway_rejected_total"] == ("counter", frozenset())
    found["slipway_rejected_total"] = ("counter", frozenset(IDENTITY | {"reason"}))
    assert found == expected


def test_every_sample_says_which_revision_it_is_of(scraped: str) -> None:
    for family in text_string_to_metric_families(scraped):
        for sample in family.samples:
            assert set(sample.labels) >= IDENTITY, sample
            assert sample.labels["model"] == "digits", "names of requests are no label"


def test_edges_are_the_documented_ones() -> None:
    text = (ROOT / "docs/metrics.md").read_text()
    for edges in (DURATION_EDGES_S, BATCH_EDGES):
        assert ", ".join(f"{edge:g}" for edge in edges) in text


def test_rows_and_requests_are_counted(scraped: str) -> None:
    values = {
        (s.name, s.labels.get("code") or s.labels.get("bucket")): s.value
        for family in text_string_to_metric_families(scraped)
        for s in family.samples
        if "le" not in s.labels
    }
    assert values["slipway_requests_total", "200"] == 1
    assert values["slipway_requests_total", "400"] == 1
    assert values["slipway_requests_total", "404"] == 50
    assert values["slipway_batch_size_sum", None] == 2
    assert values["slipway_output_total", "0"] == 2


def test_the_operator_reads_the_load_from_them(scraped: str) -> None:
    found = parsed(scraped)
    assert (found.requests, found.inferences, found.executions) == (1, 1, 1)
    assert 0 < found.execution_s == found.busy_s
    assert found.answered == 52
    assert found.execution_buckets[-1] == (float("inf"), 1)
