"""What the headers of lead lists say, in English, German, Portuguese, Spanish, French and Italian.

A header only suggests: "Email consent" holds no addresses, and "Land" may hold anything. `guess` looks at the cells too.
"""

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

#: What a column may be for → how headers say so; the first kind that fits is taken. Headers are compared without
#: accents, case and punctuation, word by word: a pattern must begin and end where words do.
_KINDS: dict[str, str] = {
    "optout": (
        r"do not (?:call|contact|phone)|dont call|dnc|no call|opt(?:ed)? ?out|unsubscribed?|robinson|bloctel"
        r"|nicht (?:an)?rufen|nicht anrufen|kein(?:e)? anrufe?|anrufsperre|werbesperre|sperrvermerk|gesperrt|widerspruch"
        r"|nao (?:ligar|contatar|contactar|perturbe)|no (?:llamar|contactar)|ne pas (?:appeler|contacter)"
        r"|non (?:chiamare|contattare)|blacklist(?:ed)?|sperrliste"
    ),
    "consent": (
        r"consent|opt ?in|permission|einwilligung|zustimmung|consentimento|consentimiento|consentement|consenso"
        r"|gdpr|dsgvo|lgpd|rgpd"
    ),
    "not_for_calls": (  # a fax, and who is to be called in an emergency, whatever it says besides
        r"(?:tele)?fax(?:nummer)?|(?:emergency|notfall|emergencia|urgence|emergenza)(?: \w+)*|notfall\w+"
    ),
    "email": (
        r"e ?mail(?: ?adresse?| address)?|mail(?:adresse?)?|correo(?: electronico)?|courriel|posta elettronica|adresse mail"
    ),
    "phone": (
        r"(?:tele)?phones?|tel|mobile?|mobil\w+|cell(?:phone|ular)?|msisdn|whats ?app|contact number"
        r"|(?:\w+)?(?:telefon|handy)(?:e|o|i|es|os)?(?:nr|nummer)?|\w*rufnummer|festnetz\w*|telefon(?:e|o)s?"
        r"|celular(?:es)?|fone|fixo|telemovel|movil|fijo|portable|fixe|cellulare|fisso"
    ),
    "primary": r"(?:is )?(?:primary|main|principal|decision maker)(?: contact| person)?|haupt(?:ansprechpartner|kontakt)",
    "role": r"role|rolle|funktion|funcao|papel|rol|cargo|ruolo|relation(?:ship)?|contact type|beziehung|parentesco",
    "key": (
        r"(?:account|household|family|group|company|customer|client|lead|organi[sz]ation|parent)(?: (?:id|no|nr|number|key|code))"
        r"|account|household|konto(?:nr|nummer)?|haushalt(?:s ?(?:id|nr|nummer))?|kunden ?(?:id|nr|nummer)|firmen ?(?:id|nr)"
        r"|(?:id|codigo|numero|no)(?: (?:da|de la|do|del|de|du))? (?:conta|cliente|cuenta|compte|client|familia|foyer|conto)"
        r"|conta|cuenta|compte|foyer"
    ),
    "campaign": r"campaign(?: ?(?:id|name|no|number))?|kampagnen?(?: ?(?:id|name|nr))?|campanha|campana|campagne|campagna",
    "status": (
        r"(?:lead |call |contact )?(?:status|stage|phase)|bearbeitungsstand|situacao|situacion|estado|etat|statut|stato"
    ),
    "country": r"country(?: ?(?:code|iso))?|land(?:es)?(?:code|kuerzel|kennzeichen)?|staat|pais|pays|paese|nation|nazione",
    "first": (
        r"(?:first|given|fore) ?name|vorname|prenom|primeiro nome|primer nombre|nombre de pila|nome proprio|fname|first"
    ),
    "last": (
        r"(?:last|family|sur) ?name|nachname|familienname|zuname|sobrenome|apelido|ultimo nome|lname|last|cognome"
        r"|nom de famille|(?:primer |segundo )?apellidos?(?: (?:paterno|materno))?"
    ),
    "company": (
        r"company(?: name)?|organi[sz]ation(?: name)?|business(?: name)?|employer|account name|firm(?:a|enname)|unternehmen"
        r"|empresa|razao social|razon social|entreprise|societe|raison sociale|azienda|ditta|ragione sociale"
    ),
    "city": r"city|town|ort|wohnort|stadt|cidade|ciudad|localidad|ville|citta|comune",
    "name": (
        r"(?:full|contact|customer|client|lead|patient|person) ?name|name|contact(?: person)?|customer|client|display name"
        r"|ansprechpartner(?:in)?|kunden?(?:name)?|kontakt(?:name|person)?|nome(?: (?:completo|do cliente))?"
        r"|nombre(?: completo| y apellidos)?|nom(?: complet)?|nominativo|cliente|contat?t?o"
    ),
}
_PATTERNS = {kind: re.compile(rf"(?:^|(?<= ))(?:{pattern})(?= |$)") for kind, pattern in _KINDS.items()}

#: Kinds that a header says only as a whole: "Company name" is no name, "City tax" no city.
_WHOLE = frozenset(
    {"campaign", "city", "company", "country", "first", "key", "last", "name", "primary", "role", "status"}
)

#: A person who stands on somebody else's row.
_RELATIVES = (
    r"secondary|second|spouse|partner|wife|husband|assistant|ehepartner(?:in)?|ehefrau|ehemann|partnerin|assistenz"
    r"|conjuge|esposa|esposo|conyuge|conjointe?|epouse|epoux|coniuge|moglie|marito"
)
_RELATIVE = re.compile(rf"(?:^|(?<= ))(?:{_RELATIVES}|(?:[1-9]|1[0-9]|20))(?= |$)")

#: Numbers that name things and count nothing.
_IDENTIFIER = re.compile(
    r"(?:^|(?<= ))(?:id|ids|no|nr|num|numero|number|code|codigo|zip|plz|cep|cp|cap|post\w*|account|konto\w*|ref\w*|sku"
    r"|vat|cpf|cnpj|nif|siret|iban|key|uuid|\w+nr|\w+nummer|\w+leitzahl)(?= |$)"
)

#: Words by which a list tells its language, beside `_KINDS`.
_LANGUAGES = {
    "de": "vorname nachname name firma telefon telefonnummer handy mobil strasse plz ort anrede land kundennr kundennummer",
    "pt": "nome sobrenome empresa telefone celular cidade rua cep pais email endereco estado",
    "es": "nombre apellido apellidos empresa telefono movil celular ciudad calle direccion correo pais provincia",
    "fr": "prenom nom societe entreprise telephone portable ville rue adresse courriel pays cp",
    "it": "nome cognome azienda telefono cellulare citta via indirizzo cap provincia paese",
    "en": "first last name phone company city street zip state country email mobile title address number",
}


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a header suggests: one of the kinds or None, and whose it is: "" the lead's, else "2", "spouse" …."""

    kind: str | None
    person: str = ""


def meaning(header: str) -> Meaning:
    """Say what a header suggests."""
    text = folded(header)
    people = [word for word in _RELATIVE.findall(text) if word != "1" or "secondary" in text.split()]
    bare = " ".join(_RELATIVE.sub(" ", text).split())
    kind = next((kind for kind, pattern in _PATTERNS.items() if _says(pattern, bare, whole=kind in _WHOLE)), None)
    return Meaning(kind, " ".join(people))


def bare_meaning(header: str) -> Meaning:
    """Do the same for a header that says nothing else: "Phone number" and "Mobile phone", but not "Phone list"."""
    said = meaning(header)
    left = _PATTERNS[said.kind].sub(" ", folded(header)) if said.kind else ""
    return said if not _IDENTIFIER.sub(" ", _RELATIVE.sub(" ", left)).strip() else Meaning(None)


def folded(header: str) -> str:
    """Return a header's words in lower case, without accents and punctuation: "eMail-Adresse 2" is "e mail adresse 2"."""
    parted = re.sub(r"(?<=[a-zß-ÿ])(?=[A-ZÀ-Þ])", " ", header)
    plain = "".join(letter for letter in unicodedata.normalize("NFKD", parted) if not unicodedata.combining(letter))
    spaced = re.sub(r"(?<=[^\W\d_])(?=\d)|(?<=\d)(?=[^\W\d_])", " ", plain.casefold())
    return " ".join(re.sub(r"[\W_]+", " ", spaced.replace("'", "")).split())


def names_a_thing(header: str) -> bool:
    """Tell a header of identifiers (Account ID, Zip, Kundennr.) from one of amounts."""
    return _IDENTIFIER.search(folded(header)) is not None


def language(headers: Iterable[str]) -> str | None:
    """Return the language that most headers speak (ISO 639-1), None where none leads."""
    words = {folded(header) for header in headers}
    words |= {word for text in words for word in text.split()}
    scores = sorted((len(words & set(known.split())), code) for code, known in _LANGUAGES.items())
    (second, _), (best, code) = scores[-2:]
    return code if best > second else None


def _says(pattern: re.Pattern[str], text: str, *, whole: bool) -> bool:
    return (pattern.fullmatch(text) if whole else pattern.search(text)) is not None
