"""The committed messages are those of their sources, and have the numbers of the field."""

import importlib.util
from pathlib import Path

import pytest
from google.protobuf.descriptor import FileDescriptor

import slipway_runtime
from slipway_runtime.protocols.proto import open_inference_pb2, tensorflow_serving_pb2

ROOT = Path(slipway_runtime.__file__).parent.parent
FOLDER = "slipway_runtime/protocols/proto"


def test_generated_messages_are_up_to_date(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("generate_proto", ROOT / "generate_proto.py")
    assert spec
    assert spec.loader
    generator = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generator)
    generator.generate(tmp_path)
    written = sorted(path.name for path in (tmp_path / FOLDER).iterdir())
    assert len(written) == 6
    for name in written:
        committed = (ROOT / FOLDER / name).read_text()
        assert (tmp_path / FOLDER / name).read_text() == committed, f"{name}: run `make proto`"


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        pytest.param(
            open_inference_pb2.DESCRIPTOR,
            {
                "inference.GRPCInferenceService": [
                    "ServerLive",
                    "ServerReady",
                    "ModelReady",
                    "ServerMetadata",
                    "ModelMetadata",
                    "ModelInfer",
                    "ModelStreamInfer",
                    "ModelConfig",
                    "ModelStatistics",
                    "RepositoryIndex",
                    "RepositoryModelLoad",
                    "RepositoryModelUnload",
                ]
            },
            id="V2",
        ),
        pytest.param(
            tensorflow_serving_pb2.DESCRIPTOR,
            {
                "tensorflow.serving.PredictionService": ["Predict", "GetModelMetadata"],
                "tensorflow.serving.ModelService": ["GetModelStatus"],
            },
            id="TensorFlow Serving",
        ),
    ],
)
def test_services_have_their_names(file: FileDescriptor, expected: dict[str, list[str]]) -> None:
    found = {
        service.full_name: [method.name for method in service.methods]
        for service in file.services_by_name.values()
    }
    assert found == expected


def test_the_numbers_are_the_fields_own() -> None:
    def numbers(message: str) -> dict[str, int]:
        fields = open_inference_pb2.DESCRIPTOR.message_types_by_name[message].fields
        return {field.name: field.number for field in fields}

    assert numbers("ModelInferRequest") == {
        "model_name": 1,
        "model_version": 2,
        "id": 3,
        "parameters": 4,
        "inputs": 5,
        "outputs": 6,
        "raw_input_contents": 7,
    }
    assert numbers("ModelConfig")["backend"] == 17
    assert numbers("InferTensorContents")["bytes_contents"] == 8
