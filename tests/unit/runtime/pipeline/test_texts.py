"""Texts become tokens as the tokenizers library alone makes them, and hostile ones nothing."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final

import httpx
import numpy as np
import onnx
import onnxruntime as ort
import pytest
import yaml
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

from slipway_runtime.errors import InvalidConfig, InvalidTensor, NotFound
from slipway_runtime.inference.signature import TensorSpec
from slipway_runtime.pipeline.fuse import fused
from slipway_runtime.pipeline.graph import Misfit
from slipway_runtime.pipeline.spec import Pipeline, Tokenize
from slipway_runtime.pipeline.texts import TextReader, found_tokenizer
from tests.unit.runtime.processes import Serving, runtime, serving, serving_document

SENTENCES: Final = [
    "The ship left the harbour at dawn, with a light wind from the west.",
    "A model is a function; its weights were found by looking at examples.",
    "Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich!",
    "naïve café — 東京 42",
    "",
]
WORDS: Final = 400
CLASSES: Final = ["calm", "rough", "storm"]
SPECIAL: Final = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
PIPELINE: Final = {
    "preprocess": [{"tokenize": {"maxLength": 16}}],
    "postprocess": [{"softmax": {}}, {"labels": {"names": CLASSES, "topK": 3}}],
}


def bert() -> Any:
    """A tokenizer as BERT has it, of a small vocabulary; the same each time."""
    return Tokenizer.from_str(trained())


@cache
def trained() -> str:
    # Once: the trainer breaks ties by chance.
    made = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer()
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(vocab_size=WORDS, special_tokens=SPECIAL)
    made.train_from_iterator(SENTENCES, trainer)
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return str(made.to_str())


def byte_pairs() -> Any:
    """A tokenizer as GPT-2 has it: pads on the left, by a token of its own number."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(vocab_size=WORDS, special_tokens=["<s>", "<|endoftext|>"])
    made.train_from_iterator(SENTENCES, trainer)
    made.enable_padding(direction="left", pad_id=1, pad_token="<|endoftext|>")
    return made


def classifier(datatype: int = TensorProto.INT64, tokens: int | str = "tokens") -> Any:
    """The mean of the embeddings of a text's tokens, and scores of it; padding counts nothing."""
    random = np.random.default_rng(5)
    graph = helper.make_graph(
        [
            helper.make_node("Gather", ["table", "input_ids"], ["each"]),
            helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
            helper.make_node("Unsqueeze", ["mask", "last"], ["wide"]),
            helper.make_node("Mul", ["each", "wide"], ["kept"]),
            helper.make_node("ReduceSum", ["kept", "second"], ["sum"], keepdims=0),
            helper.make_node("ReduceSum", ["mask", "second"], ["count"]),
            helper.make_node("Div", ["sum", "count"], ["mean"]),
            helper.make_node("MatMul", ["mean", "weights"], ["scores"]),
        ],
        "texts",
        [
            helper.make_tensor_value_info(name, datatype, ["batch", tokens])
            for name in ("input_ids", "attention_mask")
        ],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", 3])],
        [
            numpy_helper.from_array(random.normal(size=(WORDS, 8)).astype(np.float32), "table"),
            numpy_helper.from_array(random.normal(size=(8, 3)).astype(np.float32), "weights"),
            numpy_helper.from_array(np.array([-1]), "last"),
            numpy_helper.from_array(np.array([1]), "second"),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def published(folder: Path, tokenizer: Any, model: Any = None) -> Path:
    """A folder as it lies in a store: the tokenizer above, the model below."""
    (folder / "onnx").mkdir(parents=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    onnx.save(model or classifier(), str(folder / "onnx" / "model.onnx"))
    return folder


def reference(text: str) -> dict[str, float]:
    """What tokenizers, numpy and ONNX Runtime alone make of a text: probabilities by label."""
    tokenizer = bert()
    tokenizer.enable_truncation(16)
    found = tokenizer.encode(text)
    session = ort.InferenceSession(classifier().SerializeToString())
    feeds = {"input_ids": [found.ids], "attention_mask": [found.attention_mask]}
    [scores] = session.run(None, {name: np.array(ids) for name, ids in feeds.items()})
    grown = np.exp(scores[0] - scores[0].max())
    return dict(zip(CLASSES, (grown / grown.sum()).tolist(), strict=True))


def reader(tokenizer: Any, folder: Path, *names: str, tokens: int = -1, **step: Any) -> TextReader:
    file = folder / "tokenizer.json"
    tokenizer.save(str(file))
    inputs = [TensorSpec(name, "INT32", (-1, tokens)) for name in names or ("input_ids",)]
    return TextReader.of(Tokenize.model_validate(step), file, inputs)


@pytest.mark.parametrize("tokenizer", [bert(), byte_pairs()], ids=["left", "right"][::-1])
def test_a_batch_is_what_the_library_makes_of_it(tokenizer: Any, tmp_path: Path) -> None:
    names = ("attention_mask", "input_ids", "token_type_ids")
    found = reader(tokenizer, tmp_path, *names, maxLength=12).read(SENTENCES)
    tokenizer.enable_truncation(12)
    if tokenizer.padding is None:
        tokenizer.enable_padding()
    wanted = tokenizer.encode_batch(SENTENCES)
    for name, attribute in zip(names, ("attention_mask", "ids", "type_ids"), strict=True):
        assert found[name].dtype == np.int32
        assert found[name].tolist() == [getattr(each, attribute) for each in wanted]


def test_a_model_of_a_fixed_length_is_filled_up_to_it(tmp_path: Path) -> None:
    found = reader(bert(), tmp_path, tokens=9).read([*SENTENCES[:2], ""])
    assert found["input_ids"].shape == (3, 9)
    assert found["input_ids"][2].tolist() == [2, 3, 0, 0, 0, 0, 0, 0, 0]
    with pytest.raises(InvalidConfig, match=r"maxLength is 10, expected at most 9"):
        reader(bert(), tmp_path, tokens=9, maxLength=10)


def test_a_tokenizers_own_truncation_holds_unless_the_step_says_otherwise(tmp_path: Path) -> None:
    tokenizer = bert()
    tokenizer.enable_truncation(7)
    assert reader(tokenizer, tmp_path).read(SENTENCES)["input_ids"].shape == (5, 7)
    assert reader(tokenizer, tmp_path, maxLength=5).read(SENTENCES)["input_ids"].shape == (5, 5)
    long = reader(bert(), tmp_path, maxCharacters=10_000).read(["ship " * 1999])
    assert long["input_ids"].shape == (1, 512)


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        ([], "0 texts, expected 1 to 4096"),
        ([""] * 4097, "4097 texts, expected 1 to 4096"),
        (["a" * 600, "b" * 401], "1001 characters in 2 texts, expected at most 1000"),
    ],
)
def test_too_much_is_refused_before_it_is_read(
    texts: list[str], words: str, tmp_path: Path
) -> None:
    with pytest.raises(InvalidTensor, match=words):
        reader(bert(), tmp_path, maxCharacters=1000).read(texts)


def test_padding_cannot_be_made_to_fill_the_memory(tmp_path: Path) -> None:
    texts = ["a b " * 600, *[""] * 4000]
    with pytest.raises(InvalidTensor, match=r"4001 texts of up to 512 tokens, expected at most"):
        reader(bert(), tmp_path).read(texts)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{}", "is no tokenizer"),
        ("\0", "is no tokenizer"),
        ('{"version": "1.0", "model": {"type": "Unknown"}}', "is no tokenizer"),
        ("x" * (64 * 2**20 + 1), "has 67108865 bytes, expected at most"),
    ],
    ids=["an empty object", "no JSON", "an unknown model", "too large"],
)
def test_what_is_no_tokenizer_is_told(content: str, words: str, tmp_path: Path) -> None:
    file = tmp_path / "tokenizer.json"
    file.write_text(content, "utf-8")
    with pytest.raises(InvalidConfig, match=words):
        TextReader.of(Tokenize(), file, [TensorSpec("input_ids", "INT64", (-1, -1))])


def test_a_tokenizer_without_a_token_for_padding_is_refused(tmp_path: Path) -> None:
    tokenizer = byte_pairs()
    tokenizer.no_padding()
    assert reader(tokenizer, tmp_path).pad == (1, 0)
    bare = Tokenizer(models.WordLevel({"a": 0}, unk_token="a"))
    with pytest.raises(InvalidConfig, match="names no token for padding"):
        reader(bare, tmp_path)


def test_a_limit_that_leaves_no_room_for_a_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfig, match="cut to 2 tokens, expected more than the 2"):
        reader(bert(), tmp_path, maxLength=2)


@pytest.mark.parametrize(
    ("model", "steps", "words"),
    [
        (classifier(TensorProto.FLOAT), [], r"'input_ids' is FP32 of shape \[-1, -1\], expected"),
        (None, [{"cast": {"to": "FP32"}}], r"preprocess\[1\].cast: got it after tokenize"),
    ],
)
def test_a_model_that_takes_no_tokens_is_named(model: Any, steps: list[Any], words: str) -> None:
    pipeline = Pipeline.model_validate({"preprocess": [{"tokenize": {}}, *steps]})
    with pytest.raises(Misfit, match=words):
        fused(model or classifier(), pipeline)


def test_inputs_that_no_tokenizer_fills_are_named() -> None:
    pipeline = Pipeline.model_validate({"preprocess": [{"tokenize": {}}]})
    model = classifier()
    model.graph.input.append(helper.make_tensor_value_info("pixels", TensorProto.INT64, [1, 1]))
    with pytest.raises(Misfit, match=r"'pixels' is not one a tokenizer fills, expected only"):
        fused(model, pipeline)
    del model.graph.input[0]
    with pytest.raises(Misfit, match="inputs are 'attention_mask', 'pixels', expected input_ids"):
        fused(model, pipeline)
    late = Pipeline.model_validate({"preprocess": [{"cast": {"to": "INT64"}}, {"tokenize": {}}]})
    one = classifier()
    del one.graph.input[1]
    with pytest.raises(Misfit, match=r"preprocess\[1\].tokenize: got it after another step"):
        fused(one, late)


def test_a_tokenizer_is_looked_for_no_higher_than_what_was_published(tmp_path: Path) -> None:
    root = published(tmp_path / "root", bert())
    model = root / "onnx" / "model.onnx"
    assert found_tokenizer(Tokenize(), model, root) == root / "tokenizer.json"
    with pytest.raises(NotFound, match="is not beside the model, expected the tokenizer"):
        found_tokenizer(Tokenize(), model, root / "onnx")
    beside = root / "onnx" / "tokenizer.json"
    bert().save(str(beside))
    assert found_tokenizer(Tokenize(), model, root) == beside


def test_a_file_outside_of_the_folder_cannot_be_named() -> None:
    for name in ("../tokenizer.json", "/etc/passwd", ".fused.tokenizer.json", "a/b.json", ""):
        with pytest.raises(ValueError, match="file"):
            Tokenize.model_validate({"file": name})


def manifest(folder: Path) -> Path:
    document = {
        "apiVersion": "slipway.dev/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": "m"},
        "spec": {"model": {"uri": "s3://models/m/"}, "pipeline": PIPELINE},
    }
    path = folder / "m.yaml"
    path.write_text(yaml.safe_dump(document), "utf-8")
    return path


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    folder = tmp_path_factory.mktemp("texts")
    bert().save(str(folder / "tokenizer.json"))
    onnx.save(classifier(), str(folder / "model.onnx"))
    with serving("-f", manifest(folder), "--model", folder / "model.onnx") as server:
        server.wait_for("ready")
        yield server


def answered(response: httpx.Response) -> list[dict[str, float]]:
    assert response.status_code == 200, response.text
    outputs = {each["name"]: each for each in response.json()["outputs"]}
    labels = np.array(outputs["label"]["data"]).reshape(-1, 3).tolist()
    values = np.array(outputs["probability"]["data"]).reshape(-1, 3).tolist()
    return [dict(zip(*pair, strict=True)) for pair in zip(labels, values, strict=True)]


def test_a_text_becomes_a_label_on_every_wire(texts: Serving) -> None:
    wanted = [pytest.approx(reference(text), abs=1e-5) for text in SENTENCES]
    v2 = {"name": "text", "datatype": "BYTES", "shape": [5], "data": SENTENCES}
    url = f"{texts.url}/v2/models/m/infer"
    assert answered(httpx.post(url, json={"inputs": [v2]})) == wanted
    raw = b"".join(len(t.encode()).to_bytes(4, "little") + t.encode() for t in SENTENCES)
    del v2["data"]
    head = json.dumps({"inputs": [{**v2, "parameters": {"binary_data_size": len(raw)}}]}).encode()
    length = {"Inference-Header-Content-Length": str(len(head))}
    assert answered(httpx.post(url, content=head + raw, headers=length)) == wanted
    rows = httpx.post(f"{texts.url}/v1/models/m:predict", json={"instances": SENTENCES})
    assert [row["label"][0] for row in rows.json()["predictions"]] == [
        max(row, key=row.__getitem__) for row in map(reference, SENTENCES)
    ]


def test_metadata_tells_of_texts(texts: Serving) -> None:
    found = httpx.get(f"{texts.url}/v2/models/m").json()
    assert found["inputs"] == [{"name": "text", "datatype": "BYTES", "shape": [-1]}]


def test_texts_that_are_none_are_the_clients_error(texts: Serving) -> None:
    url = f"{texts.url}/v2/models/m/infer"
    for data, words in (([1], "text"), (["a" * 300_000], "300000 characters in 1 texts")):
        entry = {"name": "text", "datatype": "BYTES", "shape": [1], "data": data}
        refused = httpx.post(url, json={"inputs": [entry]})
        assert refused.status_code == 400
        assert words in refused.text
    broken = {"instances": [{"b64": base64.b64encode(b"\xff").decode()}]}
    assert httpx.post(f"{texts.url}/v1/models/m:predict", json=broken).status_code == 400


def resolved(folder: Path, uri: str) -> tuple[int, dict[str, Any], Path]:
    into, message = folder / "into", folder / "termination-log"
    message.touch()
    done = runtime(
        "fetch", "--resolve", *("--into", into, "--source-dir", folder / "source"),
        *("--termination-message", message),
        config_json=json.dumps(serving_document(uri, pipeline=PIPELINE)),
    )  # fmt: skip
    return done.returncode, json.loads(message.read_text()), into


def test_a_folder_is_resolved_with_its_tokenizer(tmp_path: Path) -> None:
    published(tmp_path / "source" / "texts", bert())
    code, message, into = resolved(tmp_path, "pvc://claim/texts/")
    assert code == 0, message
    [text] = message["result"]["signature"]["inputs"]
    assert (text["name"], text["datatype"], text["shape"]) == ("text", "BYTES", [-1])
    [kept] = into.rglob(".fused.tokenizer.json")
    assert kept.with_name(".fused.onnx").is_file()


def test_one_file_has_no_tokenizer_beside_it(tmp_path: Path) -> None:
    published(tmp_path / "source", bert())
    code, message, _ = resolved(tmp_path, "pvc://claim/onnx/model.onnx")
    assert code == 10
    assert message["failure"]["reason"] == "NotFound"
    assert "publish model and tokenizer as a folder" in message["failure"]["message"]


def test_a_laptop_finds_the_tokenizer_above_the_model(tmp_path: Path) -> None:
    root = published(tmp_path / "root", bert())
    with serving("-f", manifest(tmp_path), "--model", root) as server:
        server.wait_for("ready")
        rows = httpx.post(f"{server.url}/predict", json={"inputs": SENTENCES[0]})
        assert rows.json()["outputs"]["label"] == [list(ranked(reference(SENTENCES[0])))]


def ranked(found: dict[str, float]) -> list[str]:
    return sorted(found, key=found.__getitem__, reverse=True)
