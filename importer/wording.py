"""How counts are said in messages."""


def count_of(number: int, noun: str, *, plural: str | None = None) -> str:
    """Return "1 lead", "2 leads", "1,000 leads"; `plural` where it is more than an s behind."""
    return f"1 {noun}" if number == 1 else f"{number:,} {plural or noun + 's'}"
