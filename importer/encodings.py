"""Bytes of a text → UTF-8: told by a mark, or guessed from the letters; strict, never with replacement characters.

A guess goes by alphabets. A file of German or Czech names, read in the right encoding, has few letters but those of one
alphabet, none of them a capital in the middle of a word, and no signs between letters; read in a wrong one it has.
(Detectors that were trained on prose take the few letters of a list for a coin toss.)
"""

import codecs
import re
from collections import Counter
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from importer.errors import Refused

#: A byte order mark that was taken for three letters of Windows-1252, and saved as such.
_MARK_AS_LETTERS = codecs.BOM_UTF8.decode("cp1252").encode()

LINE_END = re.compile(r"\r\n|\r|\n")


@dataclass(frozen=True, slots=True)
class Text:
    """A text as UTF-8 without a byte order mark, what it was, and what the summary should say of it."""

    utf8: bytes
    encoding: str
    notes: tuple[str, ...] = ()


#: Letters beyond ASCII, the commonest five first; "õe" is an õ before an e only.
_WESTERN = (
    "ü ö ä ß é",  # German
    "é è ç ê ï à â ë î ô œ ù û ü ÿ æ",  # French
    "ñ ó á é í ú ü ª º ¿ ¡",  # Spanish
    "ã õe ç á é í ó ê â ô à ú ª º",  # Portuguese
    "à è ì ò ù é í ó",  # Italian
    "å ä ö ø æ é ü",  # Danish, Finnish, Norwegian, Swedish
    "á ð í ó þ é ú ý æ ö",  # Icelandic
    "ë é ï ö ü è á ó",  # Dutch
)
_CENTRAL = (
    "ł ó ą ę ś ć ń ź ż",  # Polish
    "á í é ě ř š č ž ý ů ú ť ď ň ó",  # Czech
    "á í č š ž ä ď é ĺ ľ ň ó ô ŕ ť ú ý",  # Slovak
    "á é ő ö ü ó í ú ű",  # Hungarian
    "ă ţ ş î â",  # Romanian
    "č ć đ š ž",  # Croatian, Slovene
)
_BALTIC = ("ė š ž ą ų č ę į ū", "ā ī ē š ņ č ģ ķ ļ ū ž", "ä õ ü ö š ž")
_CYRILLIC = (" ".join("аеиносрвлктмдпуябгзйхцчшщъыьэюжфёіїєґђјљњћџ"),)
_GREEK = (" ".join("αειορςσντυβγδζηθκλμξπφχψωάέήίόύώϊϋΐΰ"),)

#: Encodings that are looked for: Python's name → the name for people, and the alphabets written in it. The commonest
#: first, as it wins a draw.
_CANDIDATES: dict[str, tuple[str, tuple[str, ...]]] = {
    "cp1252": ("Windows-1252", _WESTERN),
    "cp1250": ("Windows-1250", _CENTRAL),
    "cp1254": ("Windows-1254", ("ı ş ü ğ ö ç i â î",)),
    "cp1251": ("Windows-1251", _CYRILLIC),
    "mac_roman": ("Mac-Roman", _WESTERN),
    "cp1257": ("Windows-1257", _BALTIC),
    "cp1253": ("Windows-1253", _GREEK),
    "cp1255": ("Windows-1255", (" ".join("אבגדהוזחטיכךלמםנןסעפףצץקרשת"),)),
    "cp1256": ("Windows-1256", (" ".join("ءآأؤإئابةتثجحخدذرزسشصضطظعغفقكلمنهوىي"),)),
    "cp850": ("CP850", _WESTERN),
    "cp852": ("CP852", _CENTRAL),
    "cp866": ("CP866", _CYRILLIC),
}

_ALPHABETS = {
    encoding: [(frozenset(letters.split()), frozenset(letters.split()[:5])) for letters in alphabets]
    for encoding, (_, alphabets) in _CANDIDATES.items()
}

#: Signs that lists hold beside letters.
_SIGNS = frozenset("€£§°№«»„“”‘’‚–—…·•™®©\u00a0²³½¼")

#: Hebrew letters that end a word.
_FINAL = "ךםןףץ"

#: Score a byte beyond ASCII, below which a reading is no better than a guess at random.
_SURE = 0.3
_ASCII = bytes(range(0x80))

#: Words with letters beyond ASCII that a guess is made from.
_WORDS = 2_000
_WORD = re.compile(rb"[^\s\x00;,|\"]*[\x80-\xff][^\s\x00;,|\"]*")

_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


def to_utf8(path: Path, content: bytes, wanted: str | None = None) -> Text:
    """Return the text in UTF-8; `wanted` is Python's name of the encoding that was set. Raises `Refused`."""
    text = _text(path, content, wanted)
    if not text.utf8.startswith(_MARK_AS_LETTERS):
        return text
    note = (
        "the file begins with the letters \u00ef\u00bb\u00bf, a mark of UTF-8 that a program read as Windows-1252 before it "
        "saved the file again; they were left out of the first header. Letters beyond A to Z may be wrong: see the rows"
    )
    return replace(text, utf8=text.utf8.removeprefix(_MARK_AS_LETTERS), notes=(*text.notes, note))


def _text(path: Path, content: bytes, wanted: str | None) -> Text:
    if wanted is not None:
        return _decoded(path, content, wanted, f"{wanted} was set (source.encoding)")
    encoding = marked_encoding(content)
    if encoding is None:
        return Text(content, "utf-8") if _is_utf8(content) else _guessed(path, content)
    return _decoded(path, content, encoding, f"the file begins like {encoding.removesuffix('-sig').upper()}")


def marked_encoding(content: bytes) -> str | None:
    """Return the encoding that a byte order mark tells, or UTF-16 by its pattern of zero bytes; else None."""
    for mark, encoding in _MARKS.items():
        if content.startswith(mark):
            return encoding
    start = content[:400]
    if len(start) < 4 or len(start) % 2:
        return None
    high, low = start[1::2].count(0) * 2 / len(start), start[::2].count(0) * 2 / len(start)
    if high > 0.6 and low < 0.1:
        return "utf-16-le"
    if low > 0.6 and high < 0.1:
        return "utf-16-be"
    return None


def _decoded(path: Path, content: bytes, encoding: str, because: str) -> Text:
    if encoding.removesuffix("-sig") == "utf-8" and _is_utf8(content):
        return Text(content.removeprefix(codecs.BOM_UTF8), encoding)
    try:
        return Text(content.decode(encoding.removesuffix("-sig")).removeprefix("\ufeff").encode(), encoding)
    except UnicodeError as error:
        start = error.start if isinstance(error, UnicodeDecodeError) else 0
        where = f"{path}, line {_line(content, start, encoding)}, byte {start + 1}"
        name = encoding.removesuffix("-sig").upper()
        raise Refused(
            f"{where}: {because}, but this is not {name}. Save it as CSV UTF-8 (or export it again), and run this again."
        ) from error


def _is_utf8(content: bytes) -> bool:
    """Check in pieces, so that no second copy of a large file is made."""
    if content.isascii():
        return True
    decoder = codecs.getincrementaldecoder("utf-8")()
    view = memoryview(content)
    try:
        for start in range(0, len(view), 1 << 20):
            decoder.decode(view[start : start + (1 << 20)])
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True


def _guessed(path: Path, content: bytes) -> Text:
    """Read what is not UTF-8, unless it is UTF-8 with a damaged spot: then names would come out wrong."""
    lenient = content.decode("utf-8", errors="replace")
    broken = lenient.count("\ufffd")
    sound = sum(1 for _ in re.finditer(r"[^\x00-\x7f\ufffd]", lenient))
    first = _first_broken_byte(content)
    where = f"{path}, line {_line(content, first, 'latin-1')}, byte {first + 1}"
    if sound > broken:
        raise Refused(
            f"{where}: the file is UTF-8, but {content[first : first + 1]!r} here is not. "
            "Part of it was saved otherwise or cut off: export it again, and run this again."
        )
    words = b" ".join(match[0] for match in islice(_WORD.finditer(content), _WORDS))
    scores = {encoding: _score(words, encoding) for encoding in _CANDIDATES}
    for encoding in sorted(scores, key=scores.__getitem__, reverse=True):
        if scores[encoding] <= _SURE * len(words.translate(None, _ASCII)):
            break
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError:
            continue
        name = _CANDIDATES[encoding][0]
        note = (
            f"the text is not UTF-8, so it was read as {name}, by its letters. If names look wrong, set source.encoding, "
            "or save the file as CSV UTF-8"
        )
        return Text(text.encode(), name.lower(), (note,))
    raise Refused(
        f"{where}: {content[first : first + 1]!r} stands for no letter that would fit here in any encoding known, and "
        "the file is not UTF-8 either. Save it as CSV UTF-8, or set source.encoding, and run this again."
    )


def _score(words: bytes, encoding: str) -> float:
    """Return how well the words read: the letters of the likeliest alphabet, less what stands where no letter would."""
    try:
        text = f" {words.decode(encoding)} "
    except UnicodeDecodeError:
        return -1
    letters: Counter[str] = Counter()
    other = 0.0
    for before, letter, after in zip(text, text[1:], text[2:], strict=False):
        if letter.isascii():
            continue
        near = before.isalpha() + after.isalpha()
        if letter.isalpha() and not _is_odd(before, letter, after):
            small = letter.lower()[0]
            letters["õe" if small == "õ" and after in "eE" else small] += 1
            other -= 0 if near else 0.5
            other -= 0.5 if letter.islower() and not _is_latin(letter) and not before.isalpha() else 0
        elif letter in _SIGNS and (near < 2 or letter in "’·\u00a0"):
            other += 1.3 if letter == "\u00a0" else 0.8
        else:
            other -= 1
    best = max(
        sum(map(letters.__getitem__, known)) + sum(map(letters.__getitem__, common)) / 8
        for known, common in _ALPHABETS[encoding]
    )
    return 2 * best - letters.total() + other


def _is_odd(before: str, letter: str, after: str) -> bool:
    """Tell a capital amid small letters, a final form inside a word, and a letter beside one of another script."""
    if letter.isupper() and ((before.isalpha() and after.islower()) or (before.islower() and not after.isalpha())):
        return True
    if letter in _FINAL and after.isalpha():
        return True
    return any(near.isalpha() and _is_latin(near) != _is_latin(letter) for near in (before, after))


def _is_latin(letter: str) -> bool:
    return letter < "\u0250"


def _first_broken_byte(content: bytes) -> int:
    try:
        content.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.start
    return 0


def _line(content: bytes, offset: int, encoding: str) -> int:
    return len(LINE_END.findall(content[:offset].decode(encoding, errors="replace"))) + 1
