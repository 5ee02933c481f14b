"""Files that change while they are read."""

from __future__ import annotations

from pathlib import Path

import pytest

from slipway_runtime.authentication.files import MAX_FILE_BYTES, MAX_FILES, Folder, OneFile
from slipway_runtime.errors import ConfigError
from tests.unit.runtime.credentials import mount


def test_a_mounted_volume_is_read_as_of_one_moment(tmp_path: Path) -> None:
    volume = Folder(mount(tmp_path / "v", {"alice": "1", "bob": "2"}))
    before = volume.version()
    assert volume.read() == {"alice": b"1", "bob": b"2"}
    mount(tmp_path / "v", {"carol": "3"})
    assert volume.version() != before
    assert volume.read() == {"carol": b"3"}, "bob's link leads nowhere now"


def test_an_empty_volume_is_empty(tmp_path: Path) -> None:
    assert Folder(mount(tmp_path / "v", {})).read() == {}


def test_a_folder_filled_by_hand_is_read_too(tmp_path: Path) -> None:
    (tmp_path / "alice").write_text("1")
    before = Folder(tmp_path).version()
    (tmp_path / "bob").write_text("2")
    assert Folder(tmp_path).version() != before
    assert Folder(tmp_path).read() == {"alice": b"1", "bob": b"2"}


def test_a_file_has_a_version(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("1")
    before = OneFile(file).version()
    file.write_text("12")
    assert OneFile(file).version() != before
    assert OneFile(file).read() == {"keys": b"12"}


def test_b68_more_than_a_secret_holds_is_refused(tmp_path: Path) -> None:
    large = mount(tmp_path / "large", {"alice": b"x" * (MAX_FILE_BYTES + 1)})
    with pytest.raises(ConfigError, match="'alice' is larger than"):
        Folder(large).read()
    many = mount(tmp_path / "many", {str(n): b"" for n in range(MAX_FILES + 1)})
    with pytest.raises(ConfigError, match=f"got {MAX_FILES + 1} files"):
        Folder(many).read()


@pytest.mark.parametrize("files", [Folder(Path("/no/such")), OneFile(Path("/no/such"))])
def test_what_cannot_be_read_is_told(files: Folder | OneFile) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        files.read()
    with pytest.raises(OSError, match="No such file"):
        files.version()
