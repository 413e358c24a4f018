"""Files → their bytes: compressed ones unpacked, all within bounds, so that no input can eat the machine.

Told apart by content: gzip, bzip2, xz, zstd, and a zip archive with one list in it.
"""

import bz2
import gzip
import io
import lzma
import os
import re
import sys
import zipfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from copy import copy
from pathlib import Path
from typing import IO, cast

from importer.errors import Refused

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

#: Where a list comes from that is piped in; never opened by this name, so that it works on every system.
STDIN = Path("/dev/stdin")

#: Bytes of a file, unpacked: ten million rows of 400 bytes. Beyond, a list is better split.
MAX_BYTES = 4 * 1024**3

#: Lists shrink to a third or a thirtieth; a bomb to a thousandth and less. Below the first size nobody needs to ask.
MAX_RATIO = 200
SMALL = 256 * 1024**2

#: Reading takes about this many times the size of a text (measured: 1 M rows of 12 columns, 73 MB, take 284 MB more).
MEMORY_FACTOR = 4

#: A compressed file in a compressed file is as deep as people go (`leads.csv.gz` in a zip).
_MAX_DEPTH = 2

_PIECE = 1 << 20

#: Endings that say how a file is packed, not what it is: `leads.csv.gz` is called `leads.csv`.
PACKED_SUFFIXES = frozenset({".gz", ".bz2", ".xz", ".zst", ".zstd", ".zip"})

#: How compressed content begins, what it is called, and what opens it.
_OPENERS: dict[bytes, tuple[str, Callable[[io.BytesIO], IO[bytes]]]] = {
    b"\x1f\x8b": ("gzip", lambda file: cast("IO[bytes]", gzip.GzipFile(fileobj=file))),
    b"BZh": ("bzip2", lambda file: cast("IO[bytes]", bz2.BZ2File(file))),
    b"\xfd7zXZ\x00": ("xz", lambda file: cast("IO[bytes]", lzma.LZMAFile(file))),  # noqa: SIM115 - its caller closes it
    # 2^27 is the largest window that zstd's own command opens unasked.
    b"\x28\xb5\x2f\xfd": (
        "zstd",
        lambda file: cast("IO[bytes]", zstd.ZstdFile(file, options={zstd.DecompressionParameter.window_log_max: 27})),
    ),
}

_DAMAGE = (OSError, EOFError, zlib.error, lzma.LZMAError, zstd.ZstdError, zipfile.BadZipFile, ValueError)


def unpacked_name(path: Path) -> Path:
    """Return a file's name without the ending that says how it is packed."""
    while path.suffix.lower() in PACKED_SUFFIXES and path.stem:
        path = path.with_suffix("")
    return path


def load(path: Path) -> bytes:
    """Return the bytes of a file, or of the standard input. Raises `Refused` where that can't be, or is too much."""
    try:
        if path == STDIN:
            return _bounded(path, sys.stdin.buffer, "input")
        size = path.stat().st_size
        _fits(path, size)
        return path.read_bytes() if path.is_file() or path.is_dir() else _piped(path)
    except IsADirectoryError as error:
        raise Refused(f"{path}: this is a folder; right are files. Name those in it.") from error
    except MemoryError as error:
        raise Refused(_too_large(path, "the memory that is free")) from error
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise Refused(f"{path}: it can't be read ({why}). See that it exists and that you may read it.") from error


def unpack(path: Path, content: bytes, *, depth: int = 0) -> tuple[bytes, str | None]:
    """Return the content itself where it is packed (a workbook is not), and what is to be said about it."""
    for magic, (name, opener) in _OPENERS.items():
        if content.startswith(magic):
            inner, note = _stream(path, content, name, opener), None
            break
    else:
        member = _only_member(path, content)
        if member is None:
            return content, None
        name, note = "zip", f"the list was read from {member.filename!r} in the archive"
        inner = _member(path, content, member)
    if depth + 1 >= _MAX_DEPTH and _is_packed(inner):
        raise Refused(f"{path}: it is packed several times over. Unpack it, and name the file inside.")
    if inner[257:262] == b"ustar":
        raise Refused(f"{path}: this is an archive (tar). Unpack it, and name the file inside.")
    content, deeper = unpack(path, inner, depth=depth + 1)
    return content, note or deeper


def read_part(path: Path, archive: zipfile.ZipFile, name: str) -> bytes:
    """Return a part of a workbook's archive, never more than the archive says of it.

    What unpacks a workbook later goes by no such word, so a part that goes on is refused here. Raises `Refused`, and
    what `zipfile` raises for a damaged part, which one that goes on mostly looks like.
    """
    told = archive.getinfo(name)
    with archive.open(_one_more(told)) as file:
        content = file.read(told.file_size + 1)  # with a number it unpacks no more at once
    _refuse_other_size(path, "workbook", told, content)
    return content


def _one_more(told: zipfile.ZipInfo) -> zipfile.ZipInfo:
    """Let `zipfile` read a byte more than the archive says of a file, since it stops there in silence."""
    told = copy(told)
    told.file_size += 1
    return told


def _refuse_other_size(path: Path, what: str, told: zipfile.ZipInfo, content: bytes) -> None:
    if len(content) != told.file_size:
        more = "more" if len(content) > told.file_size else "less"
        error = ValueError(f"{told.filename!r} holds {more} than the {told.file_size:,} bytes that the archive says")
        raise Refused(_damaged(path, what, error))


# Files and pipes.


def _piped(path: Path) -> bytes:
    with path.open("rb") as file:
        return _bounded(path, file, "input")


def _bounded(path: Path, file: IO[bytes], what: str, packed: int | None = None) -> bytes:
    """Read to the end, or refuse as soon as it is too much; `packed` is the size of what is being unpacked."""
    pieces, size = [], 0
    free = free_memory()
    while piece := file.read(_PIECE):
        pieces.append(piece)
        size += len(piece)
        if size > MAX_BYTES:
            raise Refused(_too_large(path, f"{MAX_BYTES // 1024**3} GiB"))
        if free is not None and size * MEMORY_FACTOR > free:
            raise Refused(_too_large(path, "the memory that is free"))
        if packed is not None and size > SMALL and size > packed * MAX_RATIO:
            raise Refused(
                f"{path}: the {what} unpacks to more than {MAX_RATIO} times its size, which no list does. "
                "If it is sound, unpack it, and name the file inside."
            )
    return b"".join(pieces)


def _fits(path: Path, size: int) -> None:
    if size > MAX_BYTES:
        raise Refused(_too_large(path, f"{MAX_BYTES // 1024**3} GiB"))
    free = free_memory()
    if free is not None and size * MEMORY_FACTOR > free:
        raise Refused(_too_large(path, f"the memory that is free ({free // 1024**2:,} MiB) allows"))


def _too_large(path: Path, than: str) -> str:
    return f"{path}: the list is larger than {than}. Split it into several files, and run them one after another."


def free_memory() -> int | None:
    """Return the bytes that may still be taken, as the system and its container tell; None where neither does."""
    found = []
    with suppress(OSError, ValueError, TypeError):
        match = re.search(r"MemAvailable:\s*(\d+) kB", Path("/proc/meminfo").read_text(encoding="ascii"))
        found += [int(match[1]) * 1024] if match else []
    with suppress(OSError, ValueError):  # cgroup v2; "max" is no number
        limit, used = (int(Path(f"/sys/fs/cgroup/memory.{name}").read_text()) for name in ("max", "current"))
        found.append(max(0, limit - used))
    return min(found, default=None)


# Packed content.


def _is_packed(content: bytes) -> bool:
    return any(map(content.startswith, _OPENERS))


def _stream(path: Path, content: bytes, name: str, opener: Callable[[io.BytesIO], IO[bytes]]) -> bytes:
    try:
        with opener(io.BytesIO(content)) as file:
            return _bounded(path, file, f"{name} file", len(content))
    except _DAMAGE as error:
        raise Refused(_damaged(path, f"compressed file ({name})", error)) from error


def _only_member(path: Path, content: bytes) -> zipfile.ZipInfo | None:
    """Return the one list in a zip archive; None for what is no archive, or a workbook."""
    if not content.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return None
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = archive.infolist()
    except (*_DAMAGE, NotImplementedError, RuntimeError) as error:
        raise Refused(_damaged(path, "workbook or zip archive", error)) from error
    if {"mimetype", "[Content_Types].xml", "xl/workbook.xml", "xl/workbook.bin"} & {file.filename for file in members}:
        return None
    lists = [file for file in members if not _is_by_the_way(file.filename)]
    if len(lists) != 1:
        names = ", ".join(repr(file.filename) for file in lists[:8]) or "nothing"
        raise Refused(
            f"{path}: this zip archive holds {names}; right is one list. Unpack it, and name the files to import."
        )
    return lists[0]


def _is_by_the_way(name: str) -> bool:
    """Tell folders, and what macOS and Windows put into archives by themselves."""
    last = os.path.basename(name)  # noqa: PTH119 - a Path would drop the slash that tells a folder
    return name.endswith("/") or name.startswith("__MACOSX/") or last in (".DS_Store", "Thumbs.db", "desktop.ini")


def _member(path: Path, content: bytes, member: zipfile.ZipInfo) -> bytes:
    if member.flag_bits & 1:
        raise Refused(f"{path}: the archive is protected with a password. Unpack it, and name the file inside.")
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive, archive.open(_one_more(member)) as file:
            inner = _bounded(path, file, "zip archive", max(member.compress_size, 1))
    except (*_DAMAGE, NotImplementedError, RuntimeError) as error:
        raise Refused(_damaged(path, "zip archive", error)) from error
    _refuse_other_size(path, "zip archive", member, inner)
    if not inner:
        raise Refused(f"{path}: {member.filename!r} in the archive is empty. Get it again.")
    return inner


def _damaged(path: Path, what: str, error: Exception) -> str:
    why = " ".join(str(error).split()) or type(error).__name__
    return f"{path}: the {what} is damaged ({why}). Get it again, and run this again."
