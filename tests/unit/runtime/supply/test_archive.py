"""Archives: what a model may be packed in, and all the ways in which one may be hostile."""

from __future__ import annotations

import gzip
import io
import random
import struct
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slipway_runtime.errors import InvalidModel, SupplyError, Unsupported
from slipway_runtime.supply.archive import unpack
from slipway_runtime.supply.tree import FOLDER, Tree

FILES: Final = {"model.onnx": b"graph" * 300, "data/weights.bin": bytes(range(256)) * 9}
LONG: Final = "/".join(["long" * 30] * 4) + "/model.onnx"


def unpacked(
    folder: Path, content: bytes, *, max_bytes: int = 2**30, max_files: int = 99
) -> dict[str, bytes]:
    """Unpack an archive; the files that came of it."""
    folder.mkdir(exist_ok=True)
    archive = folder / "archive"
    archive.write_bytes(content)
    with Tree(folder / "into", max_bytes=max_bytes, max_files=max_files) as tree:
        unpack(archive, tree)
        tree.commit()
    found = folder / "into" / FOLDER
    return {
        p.relative_to(found).as_posix(): p.read_bytes() for p in found.rglob("*") if p.is_file()
    }


def tar(*members: tuple[tarfile.TarInfo, bytes], kind: int = tarfile.PAX_FORMAT) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=kind) as archive:
        for info, content in members:
            archive.addfile(info, io.BytesIO(content))
    return packed.getvalue()


def member(name: str, content: bytes = b"x", **changes: Any) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for key, value in changes.items():
        setattr(info, key, value)
    return info, content


def link(name: str, kind: bytes, target: str = "../secret") -> tuple[tarfile.TarInfo, bytes]:
    return member(name, b"", type=kind, linkname=target)


def zipped(*members: tuple[str | zipfile.ZipInfo, bytes]) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return packed.getvalue()


def by_gnu_tar(folder: Path, *options: str) -> bytes:
    """Pack the files with the program that most people have."""
    for name, content in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    command = ["tar", "-C", str(folder), *options, "-cf", "-", "."]
    return subprocess.run(command, capture_output=True, check=True).stdout


@pytest.mark.parametrize(
    "options",
    [("-z",), (), ("--format=pax",), ("--format=ustar",), ("--format=v7",)],
    ids=" ".join,
)
def test_what_tar_has_packed_is_unpacked(tmp_path: Path, options: tuple[str, ...]) -> None:
    assert unpacked(tmp_path, by_gnu_tar(tmp_path / "files", *options)) == FILES


def test_what_zip_has_packed_is_unpacked(tmp_path: Path) -> None:
    assert unpacked(tmp_path, zipped(("data/", b""), *FILES.items())) == FILES


@pytest.mark.parametrize("kind", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT], ids=["GNU", "pax"])
def test_c15_long_names_are_read(tmp_path: Path, kind: int) -> None:
    assert unpacked(tmp_path, tar(member(LONG), member("b"), kind=kind)) == {LONG: b"x", "b": b"x"}


def test_c15_a_set_user_id_is_not_taken_over(tmp_path: Path) -> None:
    unpacked(tmp_path, tar(member("model.onnx", mode=0o6777)))
    assert (tmp_path / "into" / FOLDER / "model.onnx").stat().st_mode & 0o7111 == 0


def test_hidden_files_are_left_out(tmp_path: Path) -> None:
    assert unpacked(tmp_path, tar(member("./.git/config"), member("./a"))) == {"a": b"x"}


def sparse() -> bytes:
    """A terabyte in a few bytes, as GNU tar writes it in pax headers."""
    records = {"GNU.sparse.major": "1", "GNU.sparse.realsize": str(2**40)}
    info = tarfile.TarInfo("model.onnx")
    info.pax_headers = records
    return tar((info, b""))


def lying_size() -> bytes:
    info, content = member("model.onnx", b"x" * 512)
    info.pax_headers = {"size": str(2**50)}
    return tar((info, content))


def long_name() -> bytes:
    """A name of a megabyte: the standard library's reader would take it into memory."""
    return tar(member("x" * 2**20), kind=tarfile.GNU_FORMAT)


def broken_header() -> bytes:
    return b"x" * 1024


def endless_pax() -> bytes:
    good = bytearray(tar(member(LONG)))
    good[512:516] = b"9999"
    return bytes(good)


NOISE: Final = tar(member("a", random.Random(1).randbytes(5000)))
HOSTILE_TARS: Final = [
    ("C15 a step up", tar(member("../x")), Unsupported, "inside the folder"),
    ("C15 absolute", tar(member("/etc/x")), Unsupported, "inside the folder"),
    (
        "C15 a link, and a file through it",
        tar(link("a", tarfile.SYMTYPE, "/tmp"), member("a/x")),
        Unsupported,
        "a symbolic link",
    ),
    ("C15 a hard link", tar(link("a", tarfile.LNKTYPE)), Unsupported, "a hard link"),
    ("C6 a hard link", tar(member("b"), link("a", tarfile.LNKTYPE, "b")), Unsupported, "hard"),
    ("C15 a device", tar(link("a", tarfile.CHRTYPE)), Unsupported, "a device"),
    ("C15 a disk", tar(link("a", tarfile.BLKTYPE)), Unsupported, "a device"),
    ("C15 a pipe", tar(link("a", tarfile.FIFOTYPE)), Unsupported, "a pipe"),
    ("C15 sparse", sparse(), Unsupported, "sparse"),
    ("C15 sparse, old", tar(link("a", tarfile.GNUTYPE_SPARSE)), Unsupported, "sparse"),
    ("C15 of a kind unheard of", tar(link("a", b"Z")), Unsupported, "of type b'Z'"),
    ("C15 twice", tar(member("a"), member("a")), Unsupported, "'a' twice"),
    ("C15 a name of a megabyte", long_name(), Unsupported, "on the name of a file"),
    ("C15 a size that lies", lying_size(), Unsupported, "SLIPWAY_RUNTIME_MAX_MODEL_BYTES"),
    ("C15 many members", tar(*(member(f"{i}") for i in range(100))), Unsupported, "more than 99"),
    (
        "C15 many folders",
        tar(*(member(f"{i}", b"", type=tarfile.DIRTYPE) for i in range(400))),
        Unsupported,
        "more than 396 members",
    ),
    ("C15 cut off", tar(member("a", b"x" * 2000))[:1500], InvalidModel, "cut off"),
    ("C15 no end", tar(member("a"))[:1024], InvalidModel, "cut off"),
    ("C15 no tar", broken_header(), InvalidModel, "broken header"),
    ("C15 a pax record beyond its end", endless_pax(), InvalidModel, "broken header"),
    ("C24 a whiteout", tar(member("a/.wh.model.onnx", b"")), Unsupported, "another layer"),
    ("C17 zstd", b"\x28\xb5\x2f\xfd" + bytes(2000), InvalidModel, "broken header"),
    ("C17 a gzip that is cut off", gzip.compress(NOISE)[:-2000], InvalidModel, "broken"),
    (
        "C17 a gzip that is broken",
        gzip.compress(NOISE)[:40] + b"\xff" * 99,
        InvalidModel,
        "broken",
    ),
    ("C17 nothing", b"", InvalidModel, "cut off"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("content", "kind", "message"), [pytest.param(*row[1:], id=row[0]) for row in HOSTILE_TARS]
)
def test_a_hostile_tar_is_refused(
    tmp_path: Path, content: bytes, kind: type[SupplyError], message: str
) -> None:
    with pytest.raises(kind, match=message):
        unpacked(tmp_path, content)
    assert list((tmp_path / "into").iterdir()) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["archive", "into"]


def with_mode(name: str, mode: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    return info


def encrypted() -> bytes:
    """With the flag that says so."""
    content = bytearray(zipped(("a", b"x")))
    for mark, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(mark) + at] |= 1
    return bytes(content)


def overlapping() -> bytes:
    """Two entries, one content: what the smallest bombs are made of."""
    content = bytearray(zipped(("a", bytes(9000)), ("b", bytes(9000))))
    first = content.index(b"PK\x01\x02")
    second = content.index(b"PK\x01\x02", first + 4)
    content[second + 42 : second + 46] = content[first + 42 : first + 46]
    return bytes(content)


def by_another_method() -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("a", b"x" * 99)
    return packed.getvalue()


def lying_directory(count: int) -> bytes:
    """The end says that there are more entries, in the fields of zip64."""
    content = zipped(("a", b"x"))
    end = content.index(b"PK\x05\x06")
    record = struct.pack("<4sQHHLLQQQQ", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, 2**40, 0)
    place = struct.pack("<4sLQL", b"PK\x06\x07", 0, end, 1)
    return content[:end] + record + place + content[end:]


def later_zip() -> bytes:
    """A directory that says it takes a newer reader."""
    content = bytearray(zipped(("a", b"x")))
    content[content.index(b"PK\x01\x02") + 6] = 64
    return bytes(content)


def lying_size_of_zip() -> bytes:
    content = bytearray(zipped(("a", b"x" * 99)))
    entry = content.index(b"PK\x01\x02")
    content[entry + 24 : entry + 28] = struct.pack("<L", 7)
    return bytes(content)


HOSTILE_ZIPS: Final = [
    ("C16 a step up", zipped(("../x", b"x")), Unsupported, "inside the folder"),
    ("C16 absolute", zipped(("/etc/x", b"x")), Unsupported, "inside the folder"),
    ("C16 a backslash", zipped(("a\\x", b"x")), Unsupported, "inside the folder"),
    ("C16 a link", zipped((with_mode("a", 0o120777), b"../s")), Unsupported, "link or a device"),
    ("C16 a device", zipped((with_mode("a", 0o020666), b"")), Unsupported, "link or a device"),
    ("C16 encrypted", encrypted(), Unsupported, "encrypted"),
    ("C16 overlapping", overlapping(), Unsupported, "lies upon another"),
    ("C16 another method", by_another_method(), Unsupported, "packed by method 14"),
    ("C16 zip64 that lies", lying_directory(2**40), Unsupported, "has 1099511627776 members"),
    ("C16 of a later format", later_zip(), Unsupported, "zip file version 6.4, expected"),
    ("C16 a size that lies", lying_size_of_zip(), InvalidModel, "broken"),
    (
        "C16 many members",
        zipped(*((str(i), b"") for i in range(100))),
        Unsupported,
        "more than 99 files",
    ),
    ("C16 cut off", zipped(("a", b"x" * 2000))[:-30], InvalidModel, "broken"),
    ("C16 no directory", b"PK\x03\x04" + bytes(999), InvalidModel, "broken"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("content", "kind", "message"), [pytest.param(*row[1:], id=row[0]) for row in HOSTILE_ZIPS]
)
def test_a_hostile_zip_is_refused(
    tmp_path: Path, content: bytes, kind: type[SupplyError], message: str
) -> None:
    with pytest.raises(kind, match=message):
        unpacked(tmp_path, content)
    assert list((tmp_path / "into").iterdir()) == []


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_c16_a_name_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="'a' twice"):
        unpacked(tmp_path, zipped(("a", b"1"), ("a", b"2")))


def bomb(pack: str) -> bytes:
    """A hundred megabytes and more of zeros in some hundred kilobytes."""
    zeros = bytes(2**20)
    if pack == "zip":
        return zipped(*((f"{i}", zeros) for i in range(90)))
    return gzip.compress(tar(*(member(f"{i}", zeros) for i in range(90))))


@pytest.mark.parametrize("pack", ["tgz", "zip"])
def test_c17_a_bomb_ends_at_its_ratio(tmp_path: Path, pack: str) -> None:
    with pytest.raises(Unsupported, match="unpacks to more than 200 times that"):
        unpacked(tmp_path, bomb(pack))
    assert list((tmp_path / "into").iterdir()) == []


@pytest.mark.parametrize("pack", ["tgz", "zip"])
def test_c17_a_bomb_ends_at_the_limit_of_the_settings(tmp_path: Path, pack: str) -> None:
    with pytest.raises(Unsupported, match="SLIPWAY_RUNTIME_MAX_MODEL_BYTES"):
        unpacked(tmp_path, bomb(pack), max_bytes=10 * 2**20)


def test_c17_unpacking_holds_a_chunk(tmp_path: Path) -> None:
    """A large file, in a process of its own."""
    archive = tmp_path / "archive"
    with gzip.open(archive, "wb", compresslevel=1) as packed:
        info, _ = member("model.onnx", b"")
        info.size = 300 * 2**20
        packed.write(info.tobuf())
        noise = random.Random(1).randbytes(2**20)
        for _ in range(300):
            packed.write(noise)
        packed.write(bytes(1024))
    program = (
        "import sys; from pathlib import Path\n"
        "from slipway_runtime.supply.archive import unpack\n"
        "from slipway_runtime.supply.tree import Tree\n"
        "into = Path(sys.argv[1])\n"
        "with Tree(into, max_bytes=2**31, max_files=9) as tree:\n"
        "    unpack(into.parent / 'archive', tree)\n"
        "print([l.split()[1] for l in open('/proc/self/status') if 'VmHWM' in l][0])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "into")],
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 100 * 1024


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_any_change_of_an_archive_is_refused_or_harmless(data: st.DataObject) -> None:
    """Nothing but a SupplyError comes out, and nothing lies outside of the folder."""
    good = data.draw(st.sampled_from([PLAIN, PACKED, ZIPPED]))
    content = bytearray(good)
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    with tempfile.TemporaryDirectory() as folder:
        with suppress(SupplyError):
            unpacked(Path(folder), bytes(content))
        assert {p.name for p in Path(folder).iterdir()} == {"archive", "into"}


PLAIN: Final = tar(member(LONG, b"x" * 700), member("b"))
PACKED: Final = gzip.compress(PLAIN)
ZIPPED: Final = zipped(("a/model.onnx", b"x" * 700), ("b", b"y"))
