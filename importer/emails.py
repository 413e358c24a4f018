"""Which texts are e-mail addresses: a vectorised accept for the plain ones, email-validator for the rest."""

import polars as pl

#: Addresses that email-validator accepts as well, whatever its version knows of the rarer rules: atoms joined by
#: single dots, labels without doubled hyphens, lengths well within RFC 5321, an ending that no RFC reserves.
#: tests/test_emails.py holds the two together.
_PLAIN = (
    r"^[A-Za-z0-9_+-]{1,20}(?:\.[A-Za-z0-9_+-]{1,20}){0,1}@"
    r"(?:[A-Za-z0-9]{1,20}(?:-[A-Za-z0-9]{1,20}){0,1}\.){1,3}"
    r"(?:[Cc][Oo][Mm]|[Nn][Ee][Tt]|[Oo][Rr][Gg]|com|net|org|info|io|de|at|ch|fr|it|es|pt|br|nl|be|pl|se|no|dk|fi|ie|uk|us|ca|au|in|mx)$"
)


def invalid_emails(texts: pl.Series) -> pl.Series:
    """Return the unique texts that are no e-mail address (RFC 5322 syntax; the domain is not asked)."""
    rest = texts.filter(~texts.str.contains(_PLAIN)).unique()
    return pl.Series([text for text in rest if not _is_email(text)], dtype=pl.String)


def _is_email(text: str) -> bool:
    from email_validator import EmailNotValidError, validate_email  # 60 ms to import, needed for few lists

    try:
        validate_email(text, check_deliverability=False)
    except EmailNotValidError:
        return False
    return True
