"""fake-gcs-server, which asks nobody for a token, and a token service that looks at signatures.

Google's own services are out of reach: the first is a store with its API, the second a double.
"""

from __future__ import annotations

import base64
import json
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs

import httpx
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from devcluster.go import installed
from devcluster.versions import versions
from tests.stores.authority import Authority, Certificate
from tests.stores.secure import Request, SecureServer
from tests.stores.server import Server, free_port, listens
from tests.stores.serving import served
from tests.stores.source import Secret

_PACKAGE: Final = "github.com/fsouza/fake-gcs-server"
_BUCKET: Final = "models"
_ACCOUNT: Final = "reader@tests.example"


class Tokens(SecureServer):
    """Gives a token for an assertion that our key has signed."""

    def __init__(self, host: str, shown: Certificate, key: RSAPrivateKey) -> None:
        super().__init__(host, shown)
        self._key = key.public_key()
        self.given = 0

    def answer(self, request: Request) -> None:
        (assertion,) = parse_qs(request.body.decode())["assertion"]
        signed, _, signature = assertion.rpartition(".")
        claims = json.loads(_decoded(signed.partition(".")[2]))
        try:
            self._key.verify(_decoded(signature), signed.encode(), PKCS1v15(), SHA256())
        except InvalidSignature:
            request.says(400, b'{"error": "invalid_grant"}')
            return
        if (claims["iss"], claims["aud"]) != (_ACCOUNT, f"{self.base}/token"):
            request.says(400, b'{"error": "invalid_grant"}')
            return
        self.given += 1
        request.says(200, b'{"access_token": "ya29.t0ken", "expires_in": 3599}')


class Gcs:
    """One bucket, and the key of one account."""

    is_guarded = False
    """The store itself takes everybody."""

    def __init__(
        self, address: tuple[str, int], authority: Authority, tokens: Tokens, key: RSAPrivateKey
    ) -> None:
        self.address, self.tokens, self._key = address, tokens, key
        self._http = httpx.Client(
            base_url=f"https://{address[0]}:{address[1]}",
            verify=ssl.create_default_context(cafile=str(authority.file)),
            trust_env=False,
        )
        self._http.post(
            "/storage/v1/b", params={"project": "tests"}, json={"name": _BUCKET}
        ).raise_for_status()

    def put(self, name: str, content: bytes) -> None:
        self._http.post(
            f"/upload/storage/v1/b/{_BUCKET}/o",
            params={"uploadType": "media", "name": name},
            content=content,
            headers={"content-type": "application/octet-stream"},
        ).raise_for_status()

    def put_folder(self, name: str, files: Mapping[str, bytes]) -> None:
        for file, content in files.items():
            self.put(f"{name}/{file}", content)

    def folder_uri(self, name: str, port: int | None = None) -> str:
        return self.uri(f"{name}/", port)

    def uri(self, name: str, port: int | None = None) -> str:
        return f"gs://{_BUCKET}/{name}"

    def settings(self, port: int | None = None) -> Mapping[str, str]:
        return {"gs_endpoint": f"https://{self.address[0]}:{port or self.address[1]}"}

    def secret(self, port: int | None = None) -> Secret:
        return _key_file(self._key, self.tokens.base)

    def wrong_secret(self) -> Secret:
        return _key_file(generate_private_key(65537, 2048), self.tokens.base)

    def close(self) -> None:
        self._http.close()


def _key_file(key: RSAPrivateKey, base: str) -> Secret:
    text = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    account = {
        "type": "service_account",
        "private_key_id": "1",
        "private_key": text,
        "client_email": _ACCOUNT,
        "token_uri": f"{base}/token",
    }
    return {"key.json": json.dumps(account)}


def _decoded(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


@contextmanager
def gcs(host: str, folder: Path, authority: Authority) -> Iterator[Gcs]:
    """Run both."""
    program = installed("fake-gcs-server", _PACKAGE, versions().fake_gcs_server)
    shown, port = authority.certificate(host), free_port(host)
    command = [
        program, "-host", host, "-port", port, "-scheme", "https", "-backend", "memory",
        "-cert-location", shown.file, "-private-key-location", shown.key, "-log-level", "warn",
    ]  # fmt: skip
    key = generate_private_key(65537, 2048)
    tokens = Tokens(host, shown, key)
    store = Server(command, folder / "gcs.log", is_up=lambda: listens(host, port))
    with served(tokens), store:
        found = Gcs((host, port), authority, tokens, key)
        try:
            yield found
        finally:
            found.close()
