"""Signatures that cosign 3.1.3 has made, recorded: in a registry of OCI 1.1, and in an older one.

`cosign sign` and `cosign attest` wrote what lies in `cosign3/`, with
`--use-signing-config=false --tlog-upload=false` and a key that is not kept, into docker-registry,
which knows no referrers. The double plays both kinds of registry.
"""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any, Final

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key

from slipway_runtime.errors import AccessDenied, SignatureMismatch
from slipway_runtime.supply.bundle import KIND, claimed, stated_digest
from slipway_runtime.supply.http import Store
from slipway_runtime.supply.oci import opened
from slipway_runtime.supply.retry import Patience
from tests.stores.cosign import bundle, public, statement
from tests.unit.runtime.store import StoreDouble, says

RECORDED: Final = Path(__file__).with_name("cosign3")
INDEX: Final = "application/vnd.oci.image.index.v1+json"
MANIFEST: Final = "application/vnd.oci.image.manifest.v1+json"
DIGEST: Final = f"sha256:{hashlib.sha256((RECORDED / 'artifact.json').read_bytes()).hexdigest()}"
OURS: Final = generate_private_key(SECP256R1())


def sha(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


class Recorded:
    """A registry with the artifact, and whatever refers to it."""

    def __init__(self, double: StoreDouble, *, has_api: bool) -> None:
        self._double = double
        self._place = (
            f"/v2/m/referrers/{DIGEST}"
            if has_api
            else f"/v2/m/manifests/{DIGEST.replace(':', '-')}"
        )
        self._entries: list[dict[str, Any]] = []
        self._manifest((RECORDED / "artifact.json").read_bytes())

    def has(self, *names: str) -> None:
        """Have what was recorded under these names."""
        for name in names:
            self._refers(
                (RECORDED / f"{name}.json").read_bytes(),
                (RECORDED / f"{name}.bundle.json").read_bytes(),
            )

    def has_bundle(self, content: bytes) -> None:
        layers = [{"mediaType": KIND, "digest": sha(content), "size": len(content)}]
        self._refers(json.dumps({"mediaType": MANIFEST, "layers": layers}).encode(), content)

    def tells_kind(self, kind: str | None) -> None:
        """List everything as of this kind."""
        for entry in self._entries:
            entry["artifactType"] = kind
        self._list()

    def lost(self, digest: str, kind: str = KIND) -> None:
        """Name something that is not there."""
        self._entries.append({"mediaType": MANIFEST, "digest": digest, "artifactType": kind})
        self._list()

    def _list(self) -> None:
        index = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": self._entries})
        self._double.answers[self._place] = [says(200, index.encode(), Content_Type=INDEX)]

    def check(self, key: bytes, folder: Path) -> None:
        """Look at the signatures with a key, as the supply Job does."""
        (folder / "cosign.pub").write_bytes(key)
        with Store(Patience(attempts=1)) as http:
            uri = f"oci://{self._double.host}/m@{DIGEST}"
            opened(uri, http, (), None, ()).signed_manifest(folder / "cosign.pub")

    def _refers(self, manifest: bytes, content: bytes) -> None:
        self._manifest(manifest)
        self._double.answers[f"/v2/m/blobs/{sha(content)}"] = [says(200, content)]
        self.lost(sha(manifest))

    def _manifest(self, content: bytes) -> None:
        path = f"/v2/m/manifests/{sha(content)}"
        self._double.answers[path] = [says(200, content, Content_Type=MANIFEST)]


@pytest.fixture(params=[True, False], ids=["with referrers", "with a tag for referrers"])
def recorded(store_double: StoreDouble, request: pytest.FixtureRequest) -> Recorded:
    return Recorded(store_double, has_api=request.param)


def refused(recorded: Recorded, folder: Path, key: bytes | None = None) -> str:
    with pytest.raises(SignatureMismatch) as caught:
        recorded.check(key or (RECORDED / "cosign.pub").read_bytes(), folder)
    return str(caught.value)


def test_what_cosign_has_signed_is_good(recorded: Recorded, tmp_path: Path) -> None:
    recorded.has("signature")
    recorded.check((RECORDED / "cosign.pub").read_bytes(), tmp_path)


@pytest.mark.parametrize("kind", [None, "", "application/vnd.oci.empty.v1+json"])
def test_registries_that_do_not_tell_the_kind_are_read(
    recorded: Recorded, tmp_path: Path, kind: str | None
) -> None:
    """go-containerregistry's tells the kind of the empty configuration."""
    recorded.has("signature")
    recorded.tells_kind(kind)
    recorded.check((RECORDED / "cosign.pub").read_bytes(), tmp_path)


def test_an_attestation_beside_it_does_no_harm(recorded: Recorded, tmp_path: Path) -> None:
    recorded.has("attestation", "signature")
    recorded.check((RECORDED / "cosign.pub").read_bytes(), tmp_path)


def test_an_attestation_is_no_signature(recorded: Recorded, tmp_path: Path) -> None:
    """Its verdict is bad; that the key has signed it does not make the artifact good."""
    recorded.has("attestation")
    assert "it is for something else" in refused(recorded, tmp_path)


def test_another_key_is_refused(recorded: Recorded, tmp_path: Path) -> None:
    recorded.has("signature")
    assert "it is of another key" in refused(recorded, tmp_path, public(OURS))


@pytest.mark.parametrize("kind", [KIND, "application/vnd.example"])
def test_what_is_lost_hides_no_signature(recorded: Recorded, tmp_path: Path, kind: str) -> None:
    recorded.lost("sha256:" + "0" * 64, kind)
    assert "has no signature" in refused(recorded, tmp_path)
    recorded.has("signature")
    recorded.check((RECORDED / "cosign.pub").read_bytes(), tmp_path)


def test_what_was_changed_is_refused(recorded: Recorded, tmp_path: Path) -> None:
    """The signature of one statement, and another statement that it does not cover."""
    document = json.loads((RECORDED / "attestation.bundle.json").read_bytes())
    payload = base64.b64encode(statement(DIGEST)).decode()
    document["dsseEnvelope"]["payload"] = payload
    recorded.has_bundle(json.dumps(document).encode())
    assert "it is of another key" in refused(recorded, tmp_path)


def test_a_signature_for_another_artifact_is_refused(recorded: Recorded, tmp_path: Path) -> None:
    recorded.has_bundle(bundle(OURS, statement("sha256:" + "0" * 64)))
    assert "it is for sha256:0000" in refused(recorded, tmp_path, public(OURS))


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"[" * 99_999, id="deep"),
        pytest.param(b'{"dsseEnvelope": 1}', id="a number"),
        pytest.param(b'{"dsseEnvelope": {"signatures": []}}', id="no signature"),
        pytest.param(b'{"messageSignature": {}}', id="another kind"),
        pytest.param(
            bundle(OURS, statement(DIGEST)).replace(b"in-toto+json", b"other+json"), id="a payload"
        ),
    ],
)
def test_what_is_no_bundle_is_none(recorded: Recorded, tmp_path: Path, content: bytes) -> None:
    recorded.has_bundle(content)
    assert "has no signature" in refused(recorded, tmp_path, public(OURS))


@pytest.mark.parametrize(
    "payload",
    [b"", b"[]", b"{}", b'{"subject": 1}', b"[" * 99_999, statement(DIGEST, predicate="other"),
     statement(DIGEST).replace(b"sha256", b"sha512")],
)  # fmt: skip
def test_a_statement_that_says_nothing_is_refused(
    recorded: Recorded, tmp_path: Path, payload: bytes
) -> None:
    assert stated_digest(payload, DIGEST) is None
    recorded.has_bundle(bundle(OURS, payload))
    assert "it is for something else" in refused(recorded, tmp_path, public(OURS))


def test_no_signature_is_refused_with_the_remedy(recorded: Recorded, tmp_path: Path) -> None:
    assert "sign it with `cosign sign --key cosign.key HOST/REPO@DIGEST`" in refused(
        recorded, tmp_path
    )


def test_a_registry_that_denies_the_list_is_told(store_double: StoreDouble, tmp_path: Path) -> None:
    """Not taken for one without a list: the credentials lack a right."""
    found = Recorded(store_double, has_api=True)
    store_double.answers[f"/v2/m/referrers/{DIGEST}"] = [says(403)]
    with pytest.raises(AccessDenied):
        found.check(public(OURS), tmp_path)


def test_only_so_many_are_looked_at(store_double: StoreDouble, tmp_path: Path) -> None:
    found = Recorded(store_double, has_api=True)
    for number in range(40):
        found.has_bundle(bundle(OURS, statement(f"sha256:{number:064}")))
    refused(found, tmp_path, public(OURS))
    assert sum("/blobs/" in path for path, _ in store_double.seen) == 32


def test_the_bytes_that_are_signed_are_those_of_the_envelope() -> None:
    claim = claimed(bundle(OURS, b"{}"))
    assert claim is not None
    assert claim.content == b"DSSEv1 28 application/vnd.in-toto+json 2 {}"
