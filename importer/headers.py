"""Header cells → unique column names."""

from collections.abc import Sequence


def letter(place: int) -> str:
    """Return the letter of a column as Excel shows it; `place` from 0."""
    text = ""
    place += 1
    while place:
        place, rest = divmod(place - 1, 26)
        text = chr(65 + rest) + text
    return text


def unique_names(headers: Sequence[str], first_column: int = 0) -> tuple[list[str], list[str]]:
    """Return a unique name for each header, and what the summary should say about it."""
    names: list[str] = []
    taken = set(headers) - {""}
    repeated: list[str] = []
    for place, header in enumerate(headers):
        name = header if header.strip() else f"Column {letter(place + first_column)}"
        if name in names or (not header.strip() and name in taken):
            number = 2
            while f"{name} ({number})" in names or f"{name} ({number})" in taken:
                number += 1
            repeated.append(name)
            name = f"{name} ({number})"
        names.append(name)
    notes = [
        f"the header {name!r} stands more than once; the later columns are called {name!r} with (2), (3) … behind"
        for name in dict.fromkeys(repeated)
    ]
    return names, notes


def is_result_header(cells: Sequence[str | None]) -> bool:
    """Tell whether a row is the header of one of our result files."""
    return {"import_status", "import_run_id"} <= {cell.strip() for cell in cells if cell}
