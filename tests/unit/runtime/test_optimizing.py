"""Smaller models: what they answer, that their bytes repeat, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier
from sklearn.tree import DecisionTreeClassifier

from slipway_runtime.convert import weights
from slipway_runtime.convert.optimizing import Outcome, Wish, lines, optimised, repeated
from slipway_runtime.convert.task import Report
from slipway_runtime.errors import ConversionMismatch, InvalidConfig, Unsupported
from slipway_runtime.inference.session import Session
from slipway_runtime.supply.digest import file_digest
from slipway_runtime.vocabulary import Quantization
from tests.unit.runtime import models
from tests.unit.runtime.processes import runtime

_KINDS: Final[tuple[Quantization, ...]] = ("DynamicInt8", "StaticInt8", "Float16")
_LARGEST: Final[dict[Quantization, float]] = {
    "DynamicInt8": 0.35,
    "StaticInt8": 0.45,
    "Float16": 0.7,
}
"""Of the size before."""


class Digits(NamedTuple):
    """A trained network, a trained tree, and rows that neither has seen."""

    network: Path
    tree: Path
    rows: Any


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Digits:
    from skl2onnx import to_onnx

    folder = tmp_path_factory.mktemp("digits")
    x, y = load_digits(return_X_y=True)
    x = x.astype(np.float32)
    made = {
        "network": MLPClassifier((128,), max_iter=300, random_state=0),
        "tree": DecisionTreeClassifier(random_state=0),
    }
    for name, model in made.items():
        proto = to_onnx(model.fit(x[:1300], y[:1300]), x[:1], options={"zipmap": False})
        onnx.save(proto, str(folder / f"{name}.onnx"))
    return Digits(folder / "network.onnx", folder / "tree.onnx", x[1300:])


def made(digits: Digits, target: Path, **wish: Any) -> Outcome:
    samples = [{"X": digits.rows}]
    return optimised(digits.network, target, Wish(graph="None", **wish), samples)


@pytest.mark.parametrize("kind", _KINDS)
def test_a_trained_network_shrinks_and_its_labels_stay(
    digits: Digits, tmp_path: Path, kind: Quantization
) -> None:
    outcome = made(digits, tmp_path / "small.onnx", quantization=kind)
    agreement = outcome.difference.label_agreement_percent
    assert agreement is not None
    assert agreement >= 99
    assert outcome.difference.labels == len(digits.rows)
    assert outcome.after.size_bytes < _LARGEST[kind] * outcome.before.size_bytes
    assert (tmp_path / "small.onnx").stat().st_size == outcome.after.size_bytes


@pytest.mark.parametrize("kind", _KINDS)
def test_the_command_makes_it_smaller_with_its_own_defaults(
    digits: Digits, tmp_path: Path, kind: Quantization
) -> None:
    np.save(tmp_path / "rows.npy", digits.rows)
    small = tmp_path / "small.onnx"
    done = runtime(
        *("optimize", digits.network, "-o", small, "--quantization", kind),
        *("--samples", tmp_path / "rows.npy"),
    )
    assert done.returncode == 0, done.stderr
    assert small.stat().st_size < _LARGEST[kind] * digits.network.stat().st_size
    level = "Extended" if kind == "Float16" else "All"
    (told,) = [each.value for each in onnx.load(str(small)).metadata_props]
    assert told.startswith(f"graph {level}, quantization {kind}")
    steps = [line.split(" s  ")[1] for line in done.stderr.splitlines()]  # and no advice of ORT's
    assert steps == [
        "checking network.onnx", f"optimising: {told}", "comparing with what came in",
        "checking the result",
    ]  # fmt: skip


def test_weights_that_the_optimiser_makes_large_again_are_refused(
    digits: Digits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it does with 16 bits at the level All, which is therefore not asked for."""
    monkeypatch.setattr(Wish, "level", "All")
    with pytest.raises(Unsupported, match=r"with --graph All its weights take [0-9]+ bytes as"):
        optimised(
            digits.network, tmp_path / "x", Wish(quantization="Float16"), [{"X": digits.rows}]
        )
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("kind", _KINDS)
def test_the_same_wish_gives_the_same_bytes(
    digits: Digits, tmp_path: Path, kind: Quantization
) -> None:
    """Another processor rounds otherwise in the last places: of the samples' answers, too."""
    made(digits, tmp_path / "once.onnx", quantization=kind)
    other = np.nextafter(digits.rows, np.float32(99))
    wish = Wish(graph="None", quantization=kind)
    repeated(digits.network, tmp_path / "again.onnx", wish, [{"X": other}])
    assert (tmp_path / "once.onnx").read_bytes() == (tmp_path / "again.onnx").read_bytes()


@pytest.mark.parametrize("kind", _KINDS)
def test_nothing_is_written_beside_the_original(
    digits: Digits, tmp_path: Path, kind: Quantization
) -> None:
    """In a pod that folder is read-only; here what the quantiser would write is in its way."""
    (tmp_path / "in").mkdir()
    source = tmp_path / "in" / "model"
    source.write_bytes(digits.network.read_bytes())
    (tmp_path / "in" / "model-inferred").mkdir()
    wish = Wish(graph="None", quantization=kind)
    repeated(source, tmp_path / "small.onnx", wish, [{"X": digits.rows}])
    assert (tmp_path / "small.onnx").stat().st_size < source.stat().st_size


@pytest.mark.parametrize(
    "more", [(), ("--graph", "Basic"), ("--quantization", "Float16")], ids=" ".join
)
def test_weights_in_a_file_of_their_own_are_taken_in_and_counted(
    digits: Digits, tmp_path: Path, more: tuple[str, ...]
) -> None:
    source = _with_weights_beside(digits.network, tmp_path)
    before_bytes = source.stat().st_size + (tmp_path / "weights.bin").stat().st_size
    assert source.stat().st_size < before_bytes / 10
    done = runtime("optimize", source, "-o", tmp_path / "one.onnx", *more)
    assert done.returncode == 0, done.stderr
    assert f"{before_bytes:>8} bytes" in done.stdout
    assert "before, 'weights.bin' included; after, one file" in done.stdout
    (tmp_path / "alone").mkdir()
    moved = (tmp_path / "one.onnx").rename(tmp_path / "alone" / "one.onnx")
    assert Session(moved, threads=1).signature.inputs


def test_a_pruned_model_repeats_where_its_weights_were_beside_it(
    digits: Digits, tmp_path: Path
) -> None:
    source = _with_weights_beside(digits.network, tmp_path)
    wish = Wish(graph="None", pruning="Magnitude", sparsity_percent=10)
    outcome = optimised(source, tmp_path / "once", wish, [{"X": digits.rows}])
    repeated(source, tmp_path / "again", wish, [])
    assert (tmp_path / "once").read_bytes() == (tmp_path / "again").read_bytes()
    assert outcome.before.packed_bytes is not None
    assert outcome.before.packed_bytes > source.stat().st_size


def test_weights_of_two_gibibytes_are_not_taken_in(digits: Digits, tmp_path: Path) -> None:
    source = _with_weights_beside(digits.network, tmp_path)
    with (tmp_path / "weights.bin").open("r+b") as file:
        file.truncate(2**31)  # a hole: it takes no space
    with pytest.raises(Unsupported, match=r"[0-9]{10} bytes with its files of data, expected less"):
        optimised(source, tmp_path / "out", Wish(), [{"X": digits.rows}])
    assert not (tmp_path / "out").exists()


def _with_weights_beside(network: Path, folder: Path) -> Path:
    source, model = folder / "beside.onnx", onnx.load(str(network))
    for tensor in model.graph.initializer:  # only what is kept as bytes can lie elsewhere
        if tensor.data_type == onnx.TensorProto.FLOAT:
            tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor), tensor.name))
    onnx.save(
        model, str(source),
        save_as_external_data=True, location="weights.bin", size_threshold=64,
    )  # fmt: skip
    return source


def test_other_samples_calibrate_otherwise(digits: Digits, tmp_path: Path) -> None:
    wish = Wish(graph="None", quantization="StaticInt8")
    for name, rows in (("a", digits.rows), ("b", digits.rows * 3)):
        repeated(digits.network, tmp_path / name, wish, [{"X": rows}])
    assert (tmp_path / "a").read_bytes() != (tmp_path / "b").read_bytes()


def test_the_smallest_weights_become_zero(digits: Digits, tmp_path: Path) -> None:
    outcome = made(
        digits, tmp_path / "p.onnx", pruning="Magnitude", sparsity_percent=30,
        min_agreement_percent=90.0,
    )  # fmt: skip
    before, after = (onnx.load(str(file)).graph for file in (digits.network, tmp_path / "p.onnx"))
    first = {each.name: numpy_helper.to_array(each) for each in before.initializer}
    changed = 0
    for tensor in after.initializer:
        values, was = numpy_helper.to_array(tensor), first[tensor.name]
        if values.ndim == 2 and not np.array_equal(values, was):
            changed += 1
            gone = values == 0
            assert gone.sum() == pytest.approx(0.3 * values.size, abs=1)
            assert np.abs(was[gone]).max() <= np.abs(was[~gone]).min()
            np.testing.assert_array_equal(values[~gone], was[~gone])
    assert changed == 2
    assert outcome.after.size_bytes == pytest.approx(outcome.before.size_bytes, rel=0.01)
    assert outcome.before.packed_bytes is not None
    assert outcome.after.packed_bytes is not None
    assert outcome.after.packed_bytes < 0.85 * outcome.before.packed_bytes
    text = "\n".join(lines(outcome))
    assert "compressed" in text
    assert "it pays where the file is compressed" in text


def test_c21_a_model_that_lost_its_answers_is_refused_with_figure_and_remedy(
    digits: Digits, tmp_path: Path
) -> None:
    with pytest.raises(ConversionMismatch, match=r"[0-9.]+ % of 497 labels agree") as refused:
        made(digits, tmp_path / "p.onnx", pruning="Magnitude", sparsity_percent=97)
    assert "expected at least 99 % (minAgreementPercent)" in str(refused.value)
    assert "ask for less" in str(refused.value)
    assert not (tmp_path / "p.onnx").exists()


@pytest.mark.parametrize(
    "wish",
    [
        *(pytest.param({"quantization": kind}, id=kind) for kind in _KINDS),
        pytest.param({"pruning": "Magnitude", "sparsity_percent": 50}, id="Magnitude"),
    ],
)
def test_a_tree_has_nothing_to_shrink(digits: Digits, tmp_path: Path, wish: dict[str, Any]) -> None:
    with pytest.raises(Unsupported, match="trees have none"):
        optimised(
            digits.tree, tmp_path / "tree.onnx", Wish(graph="None", **wish), [{"X": digits.rows}]
        )


def test_static_quantisation_asks_for_samples(digits: Digits, tmp_path: Path) -> None:
    with pytest.raises(InvalidConfig, match="StaticInt8 calibrates with them"):
        optimised(digits.network, tmp_path / "x", Wish(quantization="StaticInt8"), [])


@pytest.mark.parametrize("value", [1e-30, 0.3, 1.0, 1.9999, -7.1, 3e30])
def test_a_range_is_rounded_outwards_to_what_a_millionth_does_not_move(value: float) -> None:
    found = weights.outwards(value)
    assert 1.01 <= found / value <= 1.14
    assert weights.outwards(value * (1 + 1e-6)) == weights.outwards(value * (1 - 1e-6)) == found


def test_the_command_prunes(digits: Digits, tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", digits.rows)
    done = runtime(
        *("optimize", digits.network, "-o", tmp_path / "p.onnx", "--graph", "None"),
        *("--pruning", "Magnitude", "--sparsity", "20", "--samples", tmp_path / "rows.npy"),
        *("--min-agreement", "95"),
    )
    assert done.returncode == 0, done.stderr
    assert "compressed" in done.stdout
    (told,) = [e.value for e in onnx.load(str(tmp_path / "p.onnx")).metadata_props]
    assert told == (
        "graph None, quantization None, pruning Magnitude 20 %, agreement at least 95 %"
    )


def test_what_was_lost_is_printed_before_it_is_refused(digits: Digits, tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", digits.rows)
    done = runtime(
        *("optimize", digits.network, "-o", tmp_path / "p.onnx", "--graph", "None"),
        *("--pruning", "Magnitude", "--sparsity", "97", "--samples", tmp_path / "rows.npy"),
        *("--report", tmp_path / "r.json"),
    )
    assert done.returncode == 10
    assert "ConversionMismatch" in done.stderr
    for row in ("size", "latency", "agreement", "compressed"):
        assert f"\n{row}" in done.stdout
    assert not (tmp_path / "p.onnx").exists()
    assert not (tmp_path / "r.json").exists()


def test_the_report_of_an_optimisation_has_before_and_after(tmp_path: Path) -> None:
    model = models.saved(models.affine(), tmp_path / "model.onnx")
    done = runtime("optimize", model, "-o", tmp_path / "o.onnx", "--report", tmp_path / "r.json")
    assert done.returncode == 0, done.stderr
    report = Report.model_validate_json((tmp_path / "r.json").read_text())
    assert (report.format, report.source_digest) == ("ONNX", file_digest(model))
    assert report.digest == file_digest(tmp_path / "o.onnx")
    assert report.size_bytes == (tmp_path / "o.onnx").stat().st_size
    assert report.optimized is not None
    assert report.optimized.size_bytes_before == model.stat().st_size
    assert report.optimized.latency_us_after > 0
    assert report.parity is not None
    assert report.parity.rows > 0


def test_a_folder_that_is_missing_is_told_first(tmp_path: Path) -> None:
    model = models.saved(models.affine(), tmp_path / "model.onnx")
    done = runtime("optimize", model, "-o", tmp_path / "none" / "x.onnx")
    assert done.returncode == 2
    assert "-o: folder" in done.stderr
    assert "does not exist, expected one that does; make it" in done.stderr


@pytest.mark.parametrize(
    ("given", "text"),
    [
        pytest.param(("--pruning", "Magnitude"), "go together", id="without a sparsity"),
        pytest.param(("--sparsity", "50"), "go together", id="a sparsity alone"),
        pytest.param(("--pruning", "Magnitude", "--sparsity", "100"), "1 to 99", id="everything"),
    ],
)
def test_a_sparsity_belongs_to_pruning(
    digits: Digits, tmp_path: Path, given: tuple[str, ...], text: str
) -> None:
    done = runtime("optimize", digits.network, "-o", tmp_path / "p.onnx", *given)
    assert done.returncode != 0
    assert text in done.stderr
