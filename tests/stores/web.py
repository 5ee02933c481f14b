"""An HTTPS server with a password, ETags and ranges, as web servers have them."""

from __future__ import annotations

import base64
import io
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from tests.stores.authority import Certificate
from tests.stores.secure import Request, SecureServer
from tests.stores.serving import served
from tests.stores.source import Secret

_LOGIN: Final = ("reader", "web-s3cret-of-tests")


class Web(SecureServer):
    """Files by name."""

    is_guarded = True

    def __init__(self, host: str, shown: Certificate) -> None:
        super().__init__(host, shown)
        self.files: dict[str, bytes] = {}

    def put(self, name: str, content: bytes) -> None:
        self.files[f"/{name}"] = content

    def put_folder(self, name: str, files: Mapping[str, bytes]) -> None:
        """As an archive: a web server lists nothing."""
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:gz") as archive:
            for file, content in files.items():
                info = tarfile.TarInfo(f"./{file}")
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
        self.put(f"{name}.tar.gz", packed.getvalue())

    def folder_uri(self, name: str, port: int | None = None) -> str:
        return self.uri(f"{name}.tar.gz", port)

    def uri(self, name: str, port: int | None = None) -> str:
        return f"https://{self.address[0]}:{port or self.address[1]}/{name}"

    def settings(self, port: int | None = None) -> Mapping[str, str]:
        return {}

    def secret(self, port: int | None = None) -> Secret:
        return {"username": _LOGIN[0], "password": _LOGIN[1]}

    def wrong_secret(self) -> Secret:
        return {"username": _LOGIN[0], "password": "guessed"}

    def answer(self, request: Request) -> None:
        wanted = base64.b64encode(":".join(_LOGIN).encode()).decode()
        if request.headers.get("Authorization") != f"Basic {wanted}":
            request.says(401)
        elif (content := self.files.get(request.path)) is None:
            request.says(404)
        else:
            request.sends(content)


@contextmanager
def web(host: str, shown: Certificate) -> Iterator[Web]:
    """Run the server on a free port."""
    server = Web(host, shown)
    with served(server):
        yield server
