"""What calamine does not tell of a workbook's cells, from the file's own bytes: errors, long integers, bare formulas.

Only what is needed is looked for, and only in files that hold it; a sheet's XML is searched, not parsed (ECMA-376
Part 1, 18.3.1.4 "c (Cell)").
"""

import io
import re
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from posixpath import join, normpath
from xml.etree import ElementTree


@dataclass(frozen=True, slots=True)
class Told:
    """Texts of cells by column and row, both from 0, and what the summary has to say about the sheet."""

    cells: dict[int, dict[int, str]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    has_date_texts: bool = True
    """Whether some text of the sheet may look like calamine's writing of a date cell."""


_NOTHING = Told()

_START = rb"<(?:\w+:)?c\s(%s[^>]*[^>/])>"
_FORMULA = rb"<(?:\w+:)?f(?:\s[^>]*)?(?:/>|>[^<]*</(?:\w+:)?f>)"
_VALUE = rb"<(?:\w+:)?v[^>]*>(%s)</(?:\w+:)?v>"

_ERRORS = re.compile(_START % rb"(?=[^>]*\bt=[\"']e[\"'])" + rb"(?:%s)?" % _FORMULA + _VALUE % rb"[^<]*")
_LONG = re.compile(_START % rb"(?![^>]*\bt=[\"'][^n])" + rb"(?:%s)?" % _FORMULA + _VALUE % rb"-?\d{16,}")
_BARE = re.compile(_START % rb"(?![^>]*\bt=[\"'](?:str|e))" + _FORMULA + rb"(?:<(?:\w+:)?v\s*/>|<v></v>)?</(?:\w+:)?c>")
_PLACE = re.compile(rb"\br=[\"']([A-Z]+)(\d+)[\"']")

#: Error results of BIFF8: the records BOOLERR, and FORMULA with an error for its result ([MS-XLS] 2.4.24, 2.5.133).
_XLS_ERRORS = re.compile(
    rb"\x05\x02\x08\x00.{6}[\x00\x07\x0f\x17\x1d\x24\x2a]\x01"
    rb"|\x06\x00.{2}.{6}\x02\x00[\x00\x07\x0f\x17\x1d\x24\x2a]\x00\x00\x00\xff\xff",
    re.DOTALL,
)
_ODS_LOST = re.compile(rb"calcext:value-type=[\"']error[\"']|office:value-type=[\"']time[\"']")


def tell(content: bytes, kind: str, names: Sequence[str], *, long_integers: bool) -> dict[str, Told]:
    """Return what is known of each sheet; a part that can't be found or parsed tells nothing.

    `long_integers` says whether there are any to look for, as the search takes its time.
    """
    found = _TELLERS[kind](content, long_integers) if kind in _TELLERS else {}
    everywhere = found.get("", _NOTHING)
    return {name: found.get(name, everywhere) for name in names}


def _of_xlsx(content: bytes, long_integers: bool) -> dict[str, Told]:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            shared = any(_holds_date_text(archive.read(part)) for part in archive.namelist() if "sharedStrings" in part)
            return {
                name: _of_sheet(archive.read(part), shared, long_integers) for name, part in _parts(archive).items()
            }
    except (zipfile.BadZipFile, KeyError, ElementTree.ParseError, RuntimeError, OSError, zlib.error):
        return {}


def _parts(archive: zipfile.ZipFile) -> dict[str, str]:
    """Return the path of each sheet's XML by the sheet's name."""
    targets = {}
    for relation in ElementTree.fromstring(archive.read("xl/_rels/workbook.xml.rels")):  # noqa: S314 - expat bounds expansion
        targets[relation.get("Id")] = normpath(join("/xl", relation.get("Target", ""))).lstrip("/")
    parts = {}
    for element in ElementTree.fromstring(archive.read("xl/workbook.xml")).iter():  # noqa: S314
        if element.tag.endswith("}sheet"):
            relation_id = next((value for key, value in element.items() if key.endswith("}id")), None)
            part = targets.get(relation_id, "")
            if "worksheets/" in part:
                parts[element.get("name", "")] = part
    return parts


def _of_sheet(xml: bytes, has_date_texts: bool, long_integers: bool) -> Told:
    cells: dict[int, dict[int, str]] = {}
    notes = []
    errors = _put(cells, _ERRORS, xml) if b't="e"' in xml or b"t='e'" in xml else []
    if errors:
        notes.append(
            f"{len(errors)} cells hold an error such as #N/A ({_some(errors)}); its text stands in their place"
        )
    if long_integers:
        _put(cells, _LONG, xml)
    bare = (
        [_name(match[1]) for match in _BARE.finditer(xml)]
        if any(start in xml for start in (b"<f>", b"<f ", b":f>", b":f "))
        else []
    )
    if bare:
        notes.append(
            f"{len(bare)} formulas have no stored value ({_some(bare)}) and were read as empty. "
            "Open the workbook in Excel, save it, and run this again"
        )
    return Told(cells, tuple(notes), has_date_texts or _holds_date_text(xml))


def _holds_date_text(xml: bytes) -> bool:
    return b" 00:00:00" in xml or b"1899-12-31 " in xml


def _put(cells: dict[int, dict[int, str]], pattern: re.Pattern[bytes], xml: bytes) -> list[str]:
    """Add the texts that a pattern finds, and return the names of their cells."""
    names = []
    for match in pattern.finditer(xml):
        place = _PLACE.search(match[1])
        if place:
            column = 0
            for letter in place[1]:
                column = column * 26 + letter - 64
            cells.setdefault(column - 1, {})[int(place[2]) - 1] = match[2].decode()
        names.append(_name(match[1]))
    return names


def _name(attributes: bytes) -> str:
    place = _PLACE.search(attributes)
    return (place[1] + place[2]).decode() if place else "?"


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (", …" if len(names) > 5 else "")


def _of_xls(content: bytes, _: bool) -> dict[str, Told]:
    count = len(_XLS_ERRORS.findall(content))
    return _lost(count, "an error such as #N/A", ".xls")


def _of_ods(content: bytes, _: bool) -> dict[str, Told]:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            count = len(_ODS_LOST.findall(archive.read("content.xml")))
    except (zipfile.BadZipFile, KeyError, RuntimeError, OSError, zlib.error):
        return {}
    return _lost(count, "a time of day or an error such as #N/A", ".ods")


def _lost(count: int, what: str, ending: str) -> dict[str, Told]:
    if not count:
        return {}
    note = (
        f"cells in the workbook with {what}: {count}. They come as empty from {ending}; save it as .xlsx to keep them"
    )
    return {"": Told(notes=(note,))}


_TELLERS: dict[str, Callable[[bytes, bool], dict[str, Told]]] = {"xlsx": _of_xlsx, "xls": _of_xls, "ods": _of_ods}
