"""The Open Inference Protocol's inference over REST: `POST /v2/models/{m}[/versions/{v}]/infer`."""

from __future__ import annotations

from typing import Final

from slipway_runtime.inference.request import InferenceResponse
from slipway_runtime.inference.signature import Signature
from slipway_runtime.protocols import codec_json
from slipway_runtime.protocols.asked import Asked
from slipway_runtime.protocols.body import Part
from slipway_runtime.protocols.dialect import Answer, Identity, Target, decoded_part
from slipway_runtime.protocols.head import Head
from slipway_runtime.protocols.wire import error_body

_ROUTE: Final = "/v2/models/{model}/infer"
_VERSION_ROUTE: Final = "/v2/models/{model}/versions/{version}/infer"


class V2:
    """JSON, with binary tensors behind it where the client wants them."""

    label: Final = "rest"
    verbs: Final = ("POST",)

    def target(self, raw_path: bytes) -> Target | None:
        """Tell which model an inference path names."""
        return infer_target(raw_path)

    def route(self, target: Target) -> str:
        """The template of the path."""
        return _VERSION_ROUTE if target.version else _ROUTE

    def decode(self, body: Part, head: Head, signature: Signature) -> Asked:
        """Read a request."""
        return codec_json.decode(body, signature, head.json_bytes)

    def is_file(self, head: Head, signature: Signature) -> bool:
        """V2 knows tensors only."""
        return False

    def encode(self, response: InferenceResponse, asked: Asked, identity: Identity) -> Answer:
        """Write the answer."""
        written = codec_json.encode(
            response,
            asked.forms,
            model_name=identity.model_name,
            model_version=identity.model_version,
        )
        return Answer(written.body, written.json_bytes)

    def refusal(self, status: int, kind: str, message: str) -> bytes:
        """Write an error."""
        return error_body(message)


def infer_target(raw_path: bytes) -> Target | None:
    """Tell which model an inference path names; None for every other path.

    >>> infer_target(b"/v2/models/a%2Fb/versions/3/infer")
    Target(model='a/b', version='3')
    """
    parts = raw_path.split(b"/")
    if len(parts) not in (5, 7) or parts[:3] != [b"", b"v2", b"models"] or parts[-1] != b"infer":
        return None
    if len(parts) == 7 and parts[4] != b"versions":
        return None
    version = decoded_part(parts[5]) if len(parts) == 7 else None
    return Target(decoded_part(parts[3]), version)
