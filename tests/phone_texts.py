"""Makes phone texts of every region: valid, nearly valid, and not; in the notations people and systems use."""

import random
from collections.abc import Callable, Iterator

import phonenumbers
from phonenumbers import PhoneMetadata, PhoneNumber, PhoneNumberFormat, format_number

REGIONS = tuple(sorted(phonenumbers.SUPPORTED_REGIONS))
#: Those that lists are full of; one text in three is from one of them.
COMMON = ("US", "DE", "GB", "FR", "BR", "ES", "IT", "MX", "AU", "IN", "AR", "AT", "CA", "RU", "SM")


def phone_texts(count: int, seed: int) -> list[tuple[str, str | None]]:
    """Return texts, each with the region in which it is read (None: none is known)."""
    chance = random.Random(seed)
    examples = {region: _examples(region) for region in REGIONS}
    return [_text(chance, examples) for _ in range(count)]


def valid_numbers(region: str, count: int, seed: int) -> Iterator[str]:
    """Yield valid numbers of a region as E.164."""
    chance = random.Random(seed)
    examples = _examples(region)
    while count:
        code, national = _varied(chance, *chance.choice(examples), tail=range(1, 6))
        number = PhoneNumber(code, int(national))
        if national[0] != "0" and phonenumbers.is_valid_number(number):
            yield format_number(number, PhoneNumberFormat.E164)
            count -= 1


def _examples(region: str) -> list[tuple[int, str]]:
    """Return the calling code and the digits of a region's examples of each type."""
    found = []
    for kind in (*range(11), None):
        example = (
            phonenumbers.example_number(region) if kind is None else phonenumbers.example_number_for_type(region, kind)
        )
        if example is not None:
            found.append((example.country_code or 0, phonenumbers.national_significant_number(example)))
    return found


def _varied(chance: random.Random, code: int, national: str, *, tail: range) -> tuple[int, str]:
    kept = national[: max(0, len(national) - chance.choice(tail))]
    return code, kept + "".join(str(chance.randrange(10)) for _ in range(len(national) - len(kept)))


def _text(chance: random.Random, examples: dict[str, list[tuple[int, str]]]) -> tuple[str, str | None]:
    region = chance.choice(COMMON if chance.random() < 0.33 else REGIONS)
    code, national = _varied(chance, *chance.choice(examples[region]), tail=range(9))
    match chance.randrange(12):
        case 0:
            national = national[: chance.randrange(1, len(national) + 1)]
        case 1:
            national += "".join(str(chance.randrange(10)) for _ in range(chance.randrange(1, 5)))
        case 2:
            national = "".join(str(chance.randrange(10)) for _ in national)
    text = chance.choice(NOTATIONS)(chance, code, national, region)
    if chance.random() < 0.25:
        text = chance.choice(HANDS)(text)
    read_in: str | None = region
    match chance.randrange(10):
        case 0:
            read_in = chance.choice(REGIONS)
        case 1:
            read_in = chance.choice(COMMON)
        case 2:
            read_in = None
    return text, read_in


def _number(code: int, national: str) -> PhoneNumber:
    zeros = len(national) - len(national.lstrip("0"))
    return PhoneNumber(
        code, int(national), italian_leading_zero=zeros > 0 or None, number_of_leading_zeros=zeros or None
    )


def _prefix(region: str) -> str:
    metadata = PhoneMetadata.metadata_for_region(region)
    return (metadata.national_prefix if metadata else None) or ""


def _abroad(region: str) -> str:
    metadata = PhoneMetadata.metadata_for_region(region)
    dialled = (metadata.preferred_international_prefix or metadata.international_prefix or "00") if metadata else "00"
    return "".join(letter for letter in dialled if letter.isdigit())[:4]


def _grouped(chance: random.Random, digits: str) -> str:
    sign = chance.choice((" ", " ", "-", ".", "\u00a0", "  ", "\u2011", "/"))
    size = chance.randrange(2, 5)
    return sign.join(digits[at : at + size] for at in range(0, len(digits), size))


Notation = Callable[[random.Random, int, str, str], str]

NOTATIONS: tuple[Notation, ...] = (
    lambda chance, code, national, region: f"+{code}{national}",
    lambda chance, code, national, region: format_number(_number(code, national), PhoneNumberFormat.INTERNATIONAL),
    lambda chance, code, national, region: format_number(_number(code, national), PhoneNumberFormat.NATIONAL),
    lambda chance, code, national, region: format_number(_number(code, national), PhoneNumberFormat.RFC3966),
    lambda chance, code, national, region: national,
    lambda chance, code, national, region: _prefix(region) + national,
    lambda chance, code, national, region: f"{code}{national}",
    lambda chance, code, national, region: f"00{code}{national}",
    lambda chance, code, national, region: f"00{code} {_grouped(chance, national)}",
    lambda chance, code, national, region: f"{_abroad(chance.choice(REGIONS))}{code}{national}",
    lambda chance, code, national, region: f"{_abroad(region)} {code} {national}",
    lambda chance, code, national, region: f"+{code} {_grouped(chance, national)}",
    lambda chance, code, national, region: f"+{code} (0) {national}",
    lambda chance, code, national, region: f"+{code} (0){national[:3]} {national[3:]}",
    lambda chance, code, national, region: f"(+{code}) {_grouped(chance, national)}",
    lambda chance, code, national, region: _grouped(chance, _prefix(region) + national),
    lambda chance, code, national, region: _grouped(chance, national),
    lambda chance, code, national, region: f"({national[:3]}) {national[3:]}",
    lambda chance, code, national, region: f"({_prefix(region)}{national[:2]}) {national[2:]}",
    lambda chance, code, national, region: f"{_prefix(region)}{national[:3]}/{national[3:]}",
    lambda chance, code, national, region: f"+{code} {national[:3]}/{national[3:]}",
    lambda chance, code, national, region: f"{_prefix(region)} {_prefix(region)}{national}",
)

#: What hands and programs do to a notation.
HANDS: tuple[Callable[[str], str], ...] = (
    lambda text: f" {text}\u00a0",
    lambda text: f"'{text}",
    lambda text: f"{text},",
    lambda text: f"{text}.0",
    lambda text: f"{text} ext. 7",
    lambda text: f"{text}x12",
    lambda text: f"Tel: {text}",
    lambda text: f"{text} (home)",
    lambda text: text.replace("+", ""),
    lambda text: text.replace("+", "++"),
    lambda text: text.replace("0", "O"),
    lambda text: text.translate({ord("0") + digit: 0x0660 + digit for digit in range(10)}),
    lambda text: text.translate({ord("0") + digit: 0xFF10 + digit for digit in range(10)}),
    lambda text: f"{text} / {text}",
    lambda text: f"{text};{text}",
    lambda text: f"{text}/{text[-2:]}",
    lambda text: f"{text}(12)",
    lambda text: f"-{text}",
    lambda text: f"\u200b{text}",
    lambda text: f"+0{text}",
    lambda text: f"0{text}",
    lambda text: f"+{text}",
)
