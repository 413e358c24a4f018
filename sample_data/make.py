"""Write the sample lists beside this script: the same bytes each time.

All numbers are set aside for fiction (README.md, "Numbers"), so that nobody is called should a sample ever be sent.
No number is created from two files.

    python sample_data/make.py [FOLDER]
"""

import csv
import io
import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime
from pathlib import Path

import xlsxwriter

Row = Sequence[str]

# One line is one row of a file.
# fmt: off

# spring_fair.csv: visitors of a fair in the United States.

SPRING_FAIR: list[Row] = [
    ("First Name", "Last Name", "Phone", "E-mail", "Company", "Status", "Seats", "Renewal"),
    ("Ada", "Marsh", "(212) 555-0100", "ada.marsh@example.com", "Marsh & Daughters", "New", "12", "9/5/2026"),
    ("Benjamin", "Ortiz", "212-555-0101", "b.ortiz@example.com", "Ortiz Plumbing, Inc.", "New", "3", "12/31/2026"),
    ("Chloe", "Nguyen", "212.555.0102", "chloe@example.org", "Green Door Bakery", "New", "8", "10/1/2026"),
    ("Daniel", "Kowalski", "2125550103", "dkowalski@example.com", "Kowalski Freight", "New", "40", "1/15/2027"),
    ("Elena", "Rossi", "+1 212 555 0104", "elena.rossi@example.net", "Rossi Interiors", "New", "5", "11/30/2026"),
    ("Frank", "O'Brien", "1-212-555-0105", "frank@example.com", "O'Brien Roofing", "Contacted", "6", "8/12/2026"),
    ("Grace", "Okafor", "+12125550106", "grace.okafor@example.org", "Okafor Legal", "New", "15", "3/1/2027"),
    ("Henry", "", "212 555 0107", "henry@example.com", "Corner Books", "New", "2", "9/9/2026"),
    ("  Isabel ", "Santos", " 212 555 0108 ", "isabel.santos@example.com", "Santos Catering", "New ", " 9 ", "10/20/2026"),
    ("José", "Ibáñez", "+1 (212) 555–0109", "jose.ibanez@example.com", "Café Ibáñez", "New", "4", "12/1/2026"),
    ("Karen", "Whitfield", "'2125550110", "karen.whitfield@example.net", "Whitfield Dental", "New", "11", "2/28/2027"),
    ("Liam", "Becker", "(212)5550111", "liam.becker at example.com", "Becker Tools", "New", "7", "9/30/2026"),
    ("Mia", "Johansson", "212/555-0112", "", "Nordic Light Studio", "New", "6", "11/11/2026"),
    ("Noah", "Fischer", "011 49 30 23125 040", "noah.fischer@example.org", "Fischer Optik", "New", "20", "12/15/2026"),
    ("Olivia", "Grant", "212 555 0113", "olivia.grant@example.com", "Grant & Co", "Won", "30", "7/1/2026"),
    ("Peter", "Hall", "212-555-0126", "peter.hall@example.com", "Hall Storage", "New", "5", "10/5/2026"),
    ("Quinn", "Adeyemi", "1 (212) 555 0114", "quinn@example.com", "Adeyemi Print", "New", "", ""),
    ("Rosa", "Delgado", "212 555 0115", "rosa.delgado@example.net", "Delgado Florists\n2nd floor", "New", "3", "9/18/2026"),
    ("Sam", "Turner", "+1-212-555-0127", "sam.turner@example.com", "Turner Gyms", "New", "18", "1/31/2027"),
    ("Tara", "Singh", "212.555.0116", "tara.singh@example.org", "Singh Analytics", "New", "25", "4/30/2027"),
    ("Umar", "Farouk", "(212) 555 0117", "umar.farouk@example.com", '"Farouk\'s" Garage', "New", "4", "10/10/2026"),
    ("Ada", "Marsh", "+1 212-555-0100", "ada.marsh@example.com", "Marsh & Daughters", "New", "12", "9/5/2026"),
    ("Vera", "Lindqvist", "212-555-0118", "VERA.LINDQVIST@EXAMPLE.COM", "Lindqvist Travel", "New", "10", "12/12/2026"),
    ("William", "Chen", "2125550119", "w.chen@example.com", "", "New", "1", "9/1/2026"),
    ("Yara", "Haddad", "+1 212 555 0120", "yara.haddad@example.com", "Haddad Architects", "New", "14", "11/5/2026"),
]

DO_NOT_CALL: list[Row] = [
    ("Phone", "Asked on", "Why"),
    ("+1 (212) 555-0126", "2026-03-02", "asked by phone"),
    ("12125550127", "2026-04-17", "asked by e-mail"),
    ("+49 30 23125 348", "2026-05-05", "customer of a partner"),
    ("+49 (0)30 23125-349", "2026-06-30", "asked by letter"),
]

# kunden.csv: a German customer list as Excel saves it there: semicolons, Windows-1252, CRLF.

KUNDEN: list[Row] = [
    ("Kundennr.", "Anrede", "Vorname", "Name", "Firma", "Straße", "Ort", "Telefon", "E-Mail", "Plätze", "Umsatz", "Vertragsende"),
    ("10001", "F", "Jördis", "Müller", "Müller & Söhne GbR", "Hauptstraße 1", "Köln", "030 23125 017", "j.mueller@example.com", "12", "1.250,00 €", "31.12.2026"),
    ("10002", "H", "Jörg", "Weiß", "Weiß & Partner", "Am Bühl 4", "Würzburg", "030/23125-018", "joerg.weiss@example.com", "3", "480,50 €", "30.09.2026"),
    ("10003", "F", "Käthe", "Großmann", "Großmann Gärten", "Gartenweg 12", "Fürth", "+49 (0)30 23125 019", "kaethe@example.org", "7", "2.100,00 €", "01.10.2026"),
    ("10004", "H", "Sören", "Ähnlich", "Ähnlich GmbH", "Öhringer Str. 7", "Nürnberg", "0049 30 23125020", "s.aehnlich@example.net", "25", "11.900,00 €", "15.11.2026"),
    ("10005", "F", "Lale", "Öztürk", "Öztürk Möbel", "Kölner Allee 88", "Düsseldorf", "(030) 23125-021", "lale.oeztuerk@example.com", "4", "990,00 €", "31.03.2027"),
    ("10006", "H", "Günther", "Bäcker", "Bäcker & Co.; Büro Süd", "Südring 3", "München", "030 – 23125022", "g.baecker@example.com", "9", "3.300,00 €", "31.01.2027"),
    ("10007", "F", "Zoë", "Kühn", "Praxis Dr. Kühn", "Schloßplatz 2", "Münster", "030\xa023125\xa0023", "zoe.kuehn@example.org", "2", "250,00 €", "31.12.2026"),
    ("10008", "H", "Björn", "Schäfer", "Schäferei Nord", "Dorfstraße 5", "Lübeck", "493023125024", "bjoern@example.com", "1", "75,00 €", "31.12.2026"),
    ("10009", "F", "Ursula", "Jäger", "Jäger Optik", "Marktplatz 9", "Görlitz", "3023125025", "u.jaeger@example.com", "6", "640,00 €", "28.02.2027"),
    ("10010", "H", "André", "Voß", "Voß Elektro", "Hafenstraße 31", "Rostock", "030 23125-026", "andre.voss@example.net", "14", "5.020,00 €", "30.06.2027"),
    ("10011", "Fa.", "", "", "Süßwaren König KG", "Königsallee 10", "Saarbrücken", "030 23125 027", "info@example.org", "11", "4.400,00 €", "31.12.2026"),
    ("10012", "F", "Änne", "Löwe", "Löwe Verlag", "Löwengasse 1", "Göttingen", "030 23125 028 Durchwahl 12", "aenne.loewe@example.com", "8", "1.800,00 €", "31.12.2026"),
    ("10013", "H", "Jürgen", "Höß", "Höß Bau", "Bäumleweg 6", "Tübingen", "030 23125 029", "j.hoess@example.com", "5", "2.750,00 €", "31.02.2027"),
    ("10014", "F", "Bärbel", "Strauß", "Blumen Strauß", "Weißenburger Str. 2", "Straubing", "+49-30-23125-030", "", "3", "320,00 €", "31.12.2026"),
    ("10015", "H", "Rüdiger", "Fröhlich", "Fröhlich Reisen", "Übersee 14", "Bünde", "030.23125.031", "ruediger@example.com", "", "", "31.08.2026"),
    ("10016", "F", "Elif", "Yildiz", "Yildiz Feinkost", "Rheinufer 20", "Köln", "030 / 23 12 50 32", "elif.yildiz@example.org", "10", "2.900,00 €", "31.12.2026"),
    ("10017", "H", "René", "Nowák", "Nowák Küchen", "Neiße 8", "Görlitz", "'03023125033", "rene.nowak@example.com", "6", "1.150,00 €", "31.12.2026"),
    ("10018", "F", "Kaethe", "Grossmann", "Großmann Gärten", "Gartenweg 12", "Fürth", "030 23125-019", "kaethe@example.org", "7", "2.100,00 €", "01.10.2026"),
    ("10019", "H", "Götz", "Bär", "Bär & Töchter", "Lindenhöhe 3", "Jüterbog", "030 23125034", "goetz.baer@example.net", "16", "6.480,00 €", "31.12.2027"),
    ("10020", "F", "Renée", "Böhm", "Böhm Hörgeräte", "Mühlgasse 11", "Plön", "+49 30 23125035", "renee.boehm@example.com", "2", "180,00 €", "30.11.2026"),
]

# clinics.xlsx: households of patients, one person a row. A phone that is an int is a numeric cell, a visit that is a
# date is a date cell.

CLINIC_HEADERS = ("Account ID", "Role", "First Name", "Last Name", "Phone", "Country", "E-mail", "Clinic", "Next Visit", "Campaign")
CLINIC_WIDTHS = (12, 12, 14, 16, 22, 9, 32, 24, 12, 11)

ClinicRow = tuple[str, str, str, str, str | int, str, str, str, date | str, str]

CLINICS: list[ClinicRow] = [
    ("C-1001", "Primary", "Margaret", "Holloway", "(212) 555-0130", "US", "m.holloway@example.com", "Riverside Dental", date(2026, 9, 14), "Spring"),
    ("C-1002", "Primary", "Thomas", "Brandt", "030 23125 100", "DE", "thomas.brandt@example.org", "Praxis am Park", date(2026, 10, 2), "Autumn"),
    ("C-1001", "Spouse", "Walter", "Holloway", 2125550131, "US", "w.holloway@example.com", "Riverside Dental", "", ""),
    ("C-1003", "Assistant", "Camille", "Petit", "01 99 00 10 02", "FR", "camille.petit@example.net", "Clinique des Lilas", "", "Spring"),
    ("C-1004", "Primary", "Olivia", "Tran", "0491 570 006", "AU", "olivia.tran@example.com", "Harbour Physio", date(2026, 9, 21), "Spring"),
    ("C-1002", "Spouse", "Annegret", "Brandt", "+49 30 23125 101", "DE", "", "Praxis am Park", "", "Autumn"),
    ("C-1003", "Primary", "Antoine", "Lefèvre", "01.99.00.10.01", "FR", "antoine.lefevre@example.net", "Clinique des Lilas", date(2026, 11, 5), "Spring"),
    ("C-1005", "Primary", "Dwayne", "Carter", 2125550132, "US", "dwayne.carter@example.com", "Riverside Dental", date(2026, 9, 15), "Spring"),
    ("", "Primary", "Ingrid", "Svensson", "031-390 06 10", "SE", "ingrid.svensson@example.org", "Tandkliniken Hamnen", date(2026, 10, 19), "Autumn"),
    ("C-1006", "Daughter", "Priya", "Raman", "212.555.0134", "US", "priya.raman@example.com", "Lakeview Eye Center", "", ""),
    ("C-1004", "Spouse", "Jack", "Tran", "0491 570 156", "AU", "jack.tran@example.com", "Harbour Physio", "", ""),
    ("C-1007", "Primary", "Katharina", "Vogel", 3023125102, "DE", "k.vogel@example.org", "Praxis am Park", date(2026, 12, 1), "Autumn"),
    ("C-1006", "Primary", "Lakshmi", "Raman", "212-555-0133", "US", "lakshmi.raman@example.com", "Lakeview Eye Center", date(2026, 9, 28), "Spring"),
    ("C-1001", "Assistant", "Denise", "Cole", "+1 212 555 0135", "US", "denise.cole@example.com", "Riverside Dental", "", "Spring"),
    ("C-1008", "Primary", "Eleanor", "Whitcombe", "07700 900123", "GB", "e.whitcombe@example.com", "Park Lane Clinic", date(2026, 10, 8), "Autumn"),
    ("C-1009", "Primary", "Marc", "Dubois", "+33 1 99 00 10 03", "FR", "marc.dubois@example.net", "Clinique des Lilas", date(2026, 11, 12), "Spring"),
    ("C-1010", "Spouse", "Samantha", "Reyes", "212 555 0137 ext. 4", "US", "s.reyes@example.com", "Lakeview Eye Center", "", "Spring"),
    ("C-1005", "Caregiver", "Denise", "Cole", "(212) 555 0135", "US", "denise.cole@example.com", "Riverside Dental", "", ""),
    ("C-1011", "Primary", "Bronwyn", "Ellis", "(02) 5550 1134", "AU", "bronwyn.ellis@example.com", "Harbour Physio", date(2026, 9, 22), "Spring"),
    ("C-1010", "Primary", "Victor", "Reyes", "2125550136", "US", "v.reyes@example.com", "Lakeview Eye Center", date(2026, 9, 29), "Spring"),
    ("C-1012", "Spouse", "Lars", "Nyström", "+46 31 390 06 12", "SE", "lars.nystrom@example.org", "Tandkliniken Hamnen", "", "Autumn"),
    ("C-1013", "Primary", "Rachel", "Goldberg", "1-212-555-0138", "US", "rachel.goldberg@example.com", "Riverside Dental", "2026-10-01", "Spring"),
    ("C-1012", "Primary", "Maja", "Nyström", "031-390 06 11", "SE", "maja.nystrom@example.org", "Tandkliniken Hamnen", date(2026, 10, 20), "Autumn"),
    ("C-1010", "Son", "Mateo", "Reyes", "+1 (212) 555-0139", "US", "mateo.reyes@example.com", "Lakeview Eye Center", "", ""),
    ("C-1014", "Primary", "Stefan", "Huber", "030/23125103", "DE", "stefan.huber@example.org", "Praxis am Park", date(2026, 12, 3), "Autumn"),
    ("C-1015", "Primary", "Tyrone", "Banks", 2125550140, "US", "tyrone.banks@example.com", "Lakeview Eye Center", date(2026, 9, 30), "Winter"),
    ("C-1009", "Daughter", "Inès", "Dubois", "02 61 91 10 04", "FR", "ines.dubois@example.net", "Clinique des Lilas", "", "Spring"),
    ("C-1014", "Spouse", "Monika", "Huber", "030 23125-104", "DE", "", "Praxis am Park", "", ""),
    ("C-1016", "Primary", "Naomi", "Walsh", "0491 570 157", "AU", "naomi.walsh@example.com", "Harbour Physio", date(2026, 9, 25), "Spring"),
    ("C-1011", "Assistant", "Heath", "Moore", "0491 570 158", "AU", "heath.moore@example.com", "Harbour Physio", "", "Spring"),
    ("C-1017", "Primary", "Charles", "Emery", "212 555 0141", "US", "charles.emery@example.com", "Riverside Dental", date(2026, 10, 6), "Autumn"),
    ("C-1014", "Daughter", "Lena", "Huber", "+49 30 23125 105", "DE", "lena.huber@example.org", "Praxis am Park", "", "Autumn"),
    ("C-1017", "Assistant", "Joyce", "Park", "212 555 0142", "US", "joyce.park@example.com", "Riverside Dental", "", "Autumn"),
    ("C-1018", "Primary", "Sophie", "Garnier", "01 99 00 10 05", "FR", "", "Clinique des Lilas", date(2026, 11, 19), "Spring"),
    ("C-1013", "Spouse", "Aaron", "Goldberg", "212-555-0143", "US", "aaron.goldberg@example.com", "Riverside Dental", "", ""),
    ("C-1019", "Primary", "Hannah", "Keller", "+49 30 23125 106", "DE", "hannah.keller@example.org", "Praxis am Park", date(2026, 12, 8), "Autumn"),
]

CLINIC_NOTES = (
    "Recall lists of all clinics, for the autumn round.",
    "One row a person. Rows with the same Account ID are one household; Primary is who gets the call.",
    "Campaign: Spring or Autumn. Empty for family and assistants: the same as their Primary.",
    "Country in two letters. Numbers as the front desk wrote them down.",
    "Questions: recall-desk@example.com",
)

# platform_layout.csv: the columns of the platform's own importer; it needs no config.

PLATFORM_LAYOUT: list[Row] = [
    ("phone_number", "customer_name", "email", "city", "secondary_phone_1", "secondary_1_customer_name", "secondary_1_email", "secondary_phone_2", "secondary_2_customer_name"),
    ("+12125550150", "Nora Ellison", "nora.ellison@example.com", "New York", "+12125550151", "Paul Ellison", "paul.ellison@example.com", "", ""),
    ("+493023125200", "Henrik Maurer", "henrik.maurer@example.org", "Berlin", "", "", "", "", ""),
    ("+33199001020", "Élodie Marchand", "elodie.marchand@example.net", "Paris", "+33199001021", "Hugo Marchand", "", "+33261911022", "Lucie Marchand"),
    ("+61491570110", "Grace Lim", "grace.lim@example.com", "Sydney", "", "", "", "", ""),
    ("+46313900620", "Åsa Lindgren", "asa.lindgren@example.org", "Göteborg", "+46313900621", "Erik Lindgren", "erik.lindgren@example.org", "", ""),
    ("+1 (212) 555-0152", "Marcus Bell", "", "New York", "", "", "", "+1 212 555 0153", "Tina Bell"),
    ("12125550154", "Olga Petrova", "olga.petrova@example.com", "New York", "", "", "", "", ""),
    ("+493023125201", "Sabine Krüger", "sabine.krueger@example.org", "Potsdam", "+493023125202", "Uwe Krüger", "", "+1 212 555 01", "Ina Krüger"),
    ("+12125550155", "Dylan Shaw", "dylan.shaw@example.com", "New York", "", "", "", "", ""),
    ("+49 30 23125-203", "Petra Lang", "petra.lang@example.org", "Berlin", "+493023125204", "Ralf Lang", "ralf.lang@example.org", "", ""),
    ("+1 212 555 0155", "Dylan Shaw", "dylan.shaw@example.com", "New York", "", "", "", "", ""),
    ("+33199001023", "Bruno Noël", "bruno.noel@example.net", "Lyon", "", "", "", "", ""),
]

# mistakes.csv: one mistake a row, or a group; the last column says which.

MISTAKE_HEADERS = (
    "Account", "Role", "Name", "Phone", "Country", "E-mail", "Status",
    "Plan", "Seats", "Discount", "Newsletter", "Renewal", "Campaign", "What is odd",
)
_GOOD = {
    "Role": "Primary", "Status": "New", "Plan": "G", "Seats": "5", "Discount": "12.5", "Newsletter": "yes",
    "Renewal": "31/12/2026", "Campaign": "Spring",
}
_CONTACT = {"Role": "Spouse", "Status": "New"}
_FIRST_NAMES = ("Alma", "Bruno", "Clara", "David", "Edith", "Felix", "Greta", "Hugo", "Irma", "Jonas", "Karla")
_LAST_NAMES = ("Abbot", "Baker", "Cooper", "Dyer", "Fletcher", "Glover", "Mason", "Porter", "Sawyer", "Turner")

_LOST_PLUS = "digits that are a German number, and with a + an Australian one"
_TOO_MANY = "one of eleven contacts; a lead has at most ten"

#: Account, phone, country, what is odd, and the cells that differ from a good row's.
MISTAKES: list[tuple[str, str, str, str, dict[str, str]]] = [
    ("M-01", "+1 212 555 0160", "US", "nothing: a good row to compare with", {}),
    ("M-02", "", "US", "no phone number", {}),
    ("M-03", "1-800-FLOWERS", "US", "letters for digits", {}),
    ("M-04", "212-555-0161 ext. 12", "US", "an extension", {}),
    ("M-05", "212 555 0162 / 212 555 0163", "US", "two numbers in one cell", {}),
    ("M-06", "Office: 212 555 0164", "US", "a label before the number", {}),
    ("M-07", "2125550165.0", "US", "a number with decimals, from a spreadsheet export", {}),
    ("M-08", "4.41E+11", "GB", "Excel's scientific notation: the last digits are lost", {}),
    ("M-09", "61491570159", "DE", _LOST_PLUS, {}),
    ("M-10", "493023125300", "DE", "the + is lost, but there is only one reading: a good row", {}),
    ("M-11", "212 555 0166", "", "a number without + and no country", {}),
    ("M-12", "030 23125 301", "Europe", "no country where its name or two letters belong", {}),
    ("M-13", "212 555 01", "US", "too short", {}),
    ("M-14", "212 555 016700", "US", "too long", {}),
    ("M-15", "07700 900123", "GB", "the right length, but no such numbers are in use", {}),
    ("M-16", "n/a", "US", "no phone number, but text", {}),
    ("M-17", "030 23125 302", "DE", "an e-mail address without @", {"E-mail": "dora.example.com"}),
    ("M-18", "030 23125 303", "DE", "a day that does not exist", {"Renewal": "31/02/2027"}),
    ("M-19", "212 555 0168", "US", "month and day the other way round", {"Renewal": "12/31/2026"}),
    ("M-20", "212 555 0169", "US", "a plan that the map does not know", {"Plan": "P"}),
    ("M-21", "212 555 0170", "US", "a word where a whole number belongs", {"Seats": "five"}),
    ("M-22", "030 23125 304", "DE", "a decimal comma and a percent sign", {"Discount": "12,5 %"}),
    ("M-23", "212 555 0171", "US", "neither yes nor no", {"Newsletter": "maybe"}),
    ("M-24", "212 555 01", "US", "three mistakes at once: phone, e-mail and date; all are named", {"E-mail": "x@", "Renewal": "soon"}),
    ("M-25", "212 555 0172", "US", "a campaign that the map does not know", {"Campaign": "Winter"}),
    ("M-26", "212 555 0173", "US", "no campaign", {"Campaign": ""}),
    ("M-27", "030/23125-348", "DE", "on the suppression list, written otherwise there", {}),
    ("M-28", "212 555 0174", "US", "its status is not New", {"Status": "Closed"}),
    ("", "", "", "", dict.fromkeys(MISTAKE_HEADERS, "")),
    ("M-29", "(212) 555-0160", "US", "the number of M-01 again, written otherwise", {}),
    ("", "212 555 0175", "US", "no account: a lead of its own, and a good row", {}),
    ("G-01", "030 23125 310", "DE", "one of two primaries", {}),
    ("G-01", "030 23125 311", "DE", "one of two primaries", {}),
    ("G-01", "030 23125 312", "DE", "contact of a group with two primaries", _CONTACT),
    ("G-02", "030 23125 313", "DE", "group without a primary", _CONTACT),
    ("G-02", "030 23125 314", "DE", "group without a primary", _CONTACT | {"Role": "Assistant"}),
    ("G-03", "212 555 0176", "US", "its number stands on a contact again", {}),
    ("G-03", "212 555 0177", "US", "good, but its group has a number twice", _CONTACT),
    ("G-03", "+1 (212) 555-0176", "US", "the number of its primary, written otherwise", _CONTACT | {"Role": "Assistant"}),
    ("G-04", "030 23125 320", "DE", "eleven contacts; a lead has at most ten", {}),
    *[("G-04", f"030 23125 {number}", "DE", _TOO_MANY, _CONTACT | {"Role": "Colleague"}) for number in range(321, 332)],
    ("G-05", "212 555 0178", "US", "a contact has another campaign", {}),
    ("G-05", "212 555 0179", "US", "Autumn, while its primary has Spring", _CONTACT | {"Campaign": "Autumn"}),
    ("G-06", "212 555 0180", "US", "held back, as the number of a contact is bad", {}),
    ("G-06", "212 555 018", "US", "contact with a number too short", _CONTACT),
    ("G-06", "212 555 0181", "US", "good contact of a lead that is held back", _CONTACT | {"Role": "Assistant"}),
    ("G-07", "0180", "US", "primary with a number too short", {}),
    ("G-07", "212 555 0182", "US", "good contact of a primary that can't be sent", _CONTACT),
    ("G-08", "212 555 0183", "US", "good: only its contact is on the suppression list", {}),
    ("G-08", "+49 30 23125 349", "DE", "contact on the suppression list", _CONTACT),
    ("G-09", "1 212 555 0126", "US", "primary on the suppression list", {}),
    ("G-09", "212 555 0184", "US", "contact of a primary on the suppression list", _CONTACT),
    ("G-10", "212 555 0185", "US", "contact whose status is not New; it stands above its primary", _CONTACT | {"Status": "Closed"}),
    ("G-11", "212 555 0187", "US", "primary whose status is not New", {"Status": "Closed"}),
    ("G-11", "212 555 0188", "US", "contact of a primary that is left out", _CONTACT),
    ("G-10", "212 555 0186", "US", "good: only its contact is left out", {}),
    ("G-12", "212 555 0189", "US", "good: a lead with one contact", {}),
    ("G-12", "212 555 0190", "US", "good contact", _CONTACT),
    ("G-13", "+1 212 555 0190", "US", "its number is a contact of G-12: somebody would be called twice", {}),
]

# fmt: on


def mistakes() -> Iterator[Row]:
    """Yield the rows of mistakes.csv, header first; people get names and addresses in turn."""
    yield MISTAKE_HEADERS
    for place, (account, phone, country, odd, changes) in enumerate(MISTAKES):
        first = _FIRST_NAMES[place % len(_FIRST_NAMES)]
        last = _LAST_NAMES[place % len(_LAST_NAMES)]
        named = {
            "Account": account,
            "Name": f"{first} {last}",
            "Phone": phone,
            "Country": country,
            "E-mail": f"{first}.{last}@example.com".lower(),
            "What is odd": odd,
        }
        cells = (named if changes.get("Role", "Primary") not in ("Primary", "") else _GOOD | named) | changes
        yield [cells.get(header, "") for header in MISTAKE_HEADERS]


# The files.


def to_csv(rows: Sequence[Row], *, delimiter: str = ",", encoding: str = "utf-8", line_end: str = "\n") -> bytes:
    """Return the rows as a CSV file; cells are quoted where they must be."""
    text = io.StringIO()
    csv.writer(text, delimiter=delimiter, lineterminator=line_end).writerows(rows)
    return text.getvalue().encode(encoding)


def clinics() -> bytes:
    """Return the workbook, with a date of creation that does not move."""
    content = io.BytesIO()
    book = xlsxwriter.Workbook(content, {"in_memory": True})
    book.set_properties({"title": "Recall list", "created": datetime(2026, 8, 3, 9, 0, tzinfo=UTC)})
    bold = book.add_format({"bold": True, "bg_color": "#DDEBF7", "bottom": 1})
    text, day = book.add_format({"num_format": "@"}), book.add_format({"num_format": "dd mmm yyyy"})
    leads = book.add_worksheet("Leads")
    leads.freeze_panes(1, 0)
    leads.autofilter(0, 0, len(CLINICS), len(CLINIC_HEADERS) - 1)
    for column, (header, width) in enumerate(zip(CLINIC_HEADERS, CLINIC_WIDTHS, strict=True)):
        leads.set_column(column, column, width)
        leads.write_string(0, column, header, bold)
    for number, row in enumerate(CLINICS, start=1):
        for column, cell in enumerate(row):
            if isinstance(cell, date):
                leads.write_datetime(number, column, cell, day)
            elif isinstance(cell, int):
                leads.write_number(number, column, cell)
            elif cell:
                leads.write_string(number, column, cell, text if CLINIC_HEADERS[column] == "Phone" else None)
    notes = book.add_worksheet("Notes")
    notes.set_column(0, 0, 100)
    for number, line in enumerate(CLINIC_NOTES):
        notes.write_string(number, 0, line)
    book.close()
    return content.getvalue()


def main(folder: Path) -> None:
    """Write all files into `folder`."""
    files = {
        "spring_fair.csv": to_csv(SPRING_FAIR),
        "do_not_call.csv": to_csv(DO_NOT_CALL),
        "kunden.csv": to_csv(KUNDEN, delimiter=";", encoding="cp1252", line_end="\r\n"),
        "clinics.xlsx": clinics(),
        "platform_layout.csv": to_csv(PLATFORM_LAYOUT),
        "mistakes.csv": to_csv(list(mistakes())),
    }
    for name, content in files.items():
        (folder / name).write_bytes(content)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
