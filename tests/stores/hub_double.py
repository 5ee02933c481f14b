"""A double of the Hugging Face Hub, written after its documentation; the real one is out of reach.

It has what a fetch meets: a revision's commit, files of a commit that are redirected to another
host, gated repositories, and the header that says why.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from tests.stores.authority import Certificate
from tests.stores.secure import Request, SecureServer
from tests.stores.serving import served
from tests.stores.source import Secret

COMMIT: Final = "2f1c0ffee0" * 4
_TOKEN: Final = "hf_s3cret-of-tests"
_REPOSITORY: Final = "team/digits"
_TREE: Final = f"/api/models/{_REPOSITORY}/tree/{COMMIT}"


class Content(SecureServer):
    """Where large files lie: another host, which must not see a token."""

    def __init__(self, host: str, shown: Certificate) -> None:
        super().__init__(host, shown)
        self.files: dict[str, bytes] = {}
        self.tokens_seen: list[str] = []

    def answer(self, request: Request) -> None:
        self.tokens_seen.extend(request.headers.get_all("Authorization", []))
        content = self.files.get(request.path.partition("?")[0])
        request.sends(content) if content is not None else request.says(404)


class HubDouble(SecureServer):
    """One gated repository."""

    is_guarded = True

    def __init__(self, host: str, shown: Certificate, content: Content) -> None:
        super().__init__(host, shown)
        self.content = content

    def put(self, name: str, content: bytes) -> None:
        self.content.files[f"/{name}"] = content

    def put_folder(self, name: str, files: Mapping[str, bytes]) -> None:
        for file, content in files.items():
            self.put(f"{name}/{file}", content)

    def folder_uri(self, name: str, port: int | None = None) -> str:
        return self.uri(f"{name}/", port)

    def uri(self, name: str, port: int | None = None) -> str:
        return f"hf://{_REPOSITORY}@main/{name}"

    def settings(self, port: int | None = None) -> Mapping[str, str]:
        return {"hf_endpoint": f"https://{self.address[0]}:{port or self.address[1]}"}

    def secret(self, port: int | None = None) -> Secret:
        return {"token": _TOKEN}

    def wrong_secret(self) -> Secret:
        return {"token": "hf_guessed"}

    def answer(self, request: Request) -> None:
        if request.headers.get("Authorization") != f"Bearer {_TOKEN}":
            request.says(401, X_Error_Code="GatedRepo")
            return
        path = request.path
        if path == f"/api/models/{_REPOSITORY}/revision/main":
            request.says(200, f'{{"id": "{_REPOSITORY}", "sha": "{COMMIT}"}}'.encode())
            return
        if path.startswith(_TREE):
            self._list(request, path.removeprefix(_TREE).strip("/"))
            return
        name = path.removeprefix(f"/{_REPOSITORY}/resolve/{COMMIT}")
        if name == path or name not in self.content.files:
            request.says(404, X_Error_Code="EntryNotFound")
            return
        if "/" not in name.strip("/"):  # small files are sent by the hub itself
            request.sends(self.content.files[name])
            return
        request.says(302, Location=f"{self.content.base}{name}?signature=of-the-hub")

    def _list(self, request: Request, wanted: str) -> None:
        """Two files a page; the next one is named in a header."""
        folder, _, query = wanted.partition("?")
        start = int(query.partition("cursor=")[2] or 0)
        names = sorted(n.strip("/") for n in self.content.files if n.startswith(f"/{folder}/"))
        listed = [
            {"type": "file", "path": name, "size": len(self.content.files[f"/{name}"])}
            for name in names[start : start + 2]
        ]
        entries = [{"type": "directory", "path": folder, "size": 0}, *listed]
        more: dict[str, str] = {}
        if start + 2 < len(names):
            next_page = f"{self.base}{_TREE}/{folder}?recursive=true&cursor={start + 2}"
            more["Link"] = f'<{next_page}>; rel="next"'
        request.says(200, json.dumps(entries).encode(), **more)


@contextmanager
def hub_double(
    host: str, shown: Certificate, content_host: str, content_shown: Certificate
) -> Iterator[HubDouble]:
    """Run the double and its second host."""
    content = Content(content_host, content_shown)
    hub = HubDouble(host, shown, content)
    with served(content), served(hub):
        yield hub
