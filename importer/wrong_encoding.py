"""UTF-8 that some program has read as Windows-1252, Latin-1 or Mac Roman: `MÃ¼ller` → `Müller`."""

import re
import unicodedata

#: How often one text may have been read wrongly.
_ROUNDS = 3

#: Bytes by the letters that stand for them in Windows-1252, those that it leaves free as in Latin-1.
_WINDOWS = {chr(byte): byte for byte in range(256)} | {
    letter: byte for byte in range(0x80, 0xA0) if (letter := bytes([byte]).decode("cp1252", errors="ignore"))
}
_MAC = {bytes([byte]).decode("mac_roman"): byte for byte in range(256)}


def _pairs(table: dict[str, int]) -> str:
    """Return a pattern for a first byte of UTF-8 with a following one."""
    first = "".join(letter for letter, byte in table.items() if 0xC2 <= byte <= 0xF4)
    following = "".join(letter for letter, byte in table.items() if 0x80 <= byte <= 0xBF)
    return f"[{re.escape(first)}][{re.escape(following)}]"


#: What holds nothing of this holds no such text.
LIKELY = f"{_pairs(_WINDOWS)}|{_pairs(_MAC)}"

#: Capitals before Ä or Å and a closing quote: more likely a quotation than the letter that this would be.
_QUOTED = re.compile("[A-ZÀ-Þ][ÄÅ][‘’“”]")
#: Letters and signs of European texts, each of which may stand alone among ASCII; others come in twos at least.
_EUROPEAN = re.compile("[\u00a0-\u017f\u0218-\u021b\u1e00-\u1eff\u2010-\u203a\u20ac\u2122\u0300-\u0323]")


def decoded(text: str) -> str | None:
    """Return the text that was read wrongly; None where that can't be proved.

    Proved is what turns into bytes of the encoding and is UTF-8 from end to end, with letters that people write.
    """
    if _QUOTED.search(text):
        return None
    found = None
    for _ in range(_ROUNDS):
        better = _once(text, _WINDOWS) or _once(text, _MAC)
        if better is None:
            break
        found = text = better
    return found


def _once(text: str, table: dict[str, int]) -> str | None:
    try:
        right = bytes(table[letter] for letter in text).decode()
    except (KeyError, UnicodeDecodeError):
        return None
    strange = [letter for letter in right if not letter.isascii() and not _EUROPEAN.match(letter)]
    written = all(unicodedata.category(letter)[0] in "LNMS" for letter in strange)
    if right == text or not written or len(strange) == 1 or "\x80" <= max(right) <= "\x9f":
        return None
    return right
