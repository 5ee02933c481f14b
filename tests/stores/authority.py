"""A certificate authority of the tests' own, which no machine trusts by itself."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a server shows, and its key."""

    file: Path
    key: Path


class Authority:
    """Signs certificates for addresses."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.file = folder / "ca.crt"
        self._key = folder / "ca.key"
        _openssl(
            "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
            "-keyout", self._key, "-out", self.file, "-days", "2", "-subj", "/CN=Tests",
            "-addext", "keyUsage=critical,keyCertSign",
        )  # fmt: skip

    def certificate(self, address: str) -> Certificate:
        """Sign a certificate for an IP address, or for a name."""
        request, extensions = self._folder / "request.csr", self._folder / "extensions"
        made = Certificate(self._folder / f"{address}.crt", self._folder / f"{address}.key")
        if made.file.exists():
            return made
        kind = "IP" if address[0].isdigit() else "DNS"
        extensions.write_text(
            f"subjectAltName={kind}:{address}\nextendedKeyUsage=serverAuth\n"
            "authorityKeyIdentifier=keyid\nsubjectKeyIdentifier=hash\n"
        )
        _openssl(
            "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
            "-keyout", made.key, "-out", request, "-subj", f"/CN={address}",
        )  # fmt: skip
        _openssl(
            "x509", "-req", "-in", request, "-CA", self.file, "-CAkey", self._key,
            "-CAcreateserial", "-days", "2", "-extfile", extensions, "-out", made.file,
        )  # fmt: skip
        return made


def _openssl(*arguments: object) -> None:
    done = subprocess.run(
        ["openssl", *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False
    )
    assert not done.returncode, done.stderr
