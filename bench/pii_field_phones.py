"""Made-up telephone numbers with country code, in the usual writings of sixteen countries.

Sources: ITU-T E.123 and E.164, the national numbering plans (area codes, mobile prefixes, lengths) and the habits of
letterheads and signatures (``(0)``, slash, dots, hyphens, brackets). Subscriber digits are drawn at run time.
"""

from random import Random
from typing import NamedTuple

from bench.pii_field_values import NBSP, Piece, fill


class Plan(NamedTuple):
    """One country: code, numbers by digit group, fixed writings, ``(0)`` in use, slash in use."""

    code: str
    numbers: str
    fixed: str = ""
    trunk: bool = True
    slash: bool = False


_PLANS = (
    Plan(
        "49",
        "30 NXXX XXXX|89 NXX XXX XX|221 NXX XXXX|171 NXX XX XX|151 NXXX XXXX|176 NXX XXX XX",
        "+49 (0) 40 / NXX XX-0|+49 211 NXXXX-XX|+49 (0)69/NXXXXX-XX|+49 (0) 160 NXX XX XX",
        slash=True,
    ),
    Plan("44", "20 7NXX XXXX|161 2XX XXXX|7812 XXXXXX|7788 XXX XXX", "+44 (0)20-8NXX-XXXX"),
    Plan("33", "1 4X XX XX XX|6 1X XX XX XX|7 6X XX XX XX|4 7X XX XX XX", "+33(0)1.4X.XX.XX.XX"),
    Plan(
        "1",
        "415 N4X XXXX|212 N7X XXXX|312 N4X XXXX|604 N7X XXXX|416 N4X XXXX|514 N7X XXXX",
        "+1 (415) N4X-XXXX|+1(212)N7X-XXXX|+1 604-N4X-XXXX|+1 (416) N7X.XXXX",
        trunk=False,
    ),
    Plan("34", "91 NXX XX XX|612 XXX XXX|655 XX XX XX|93 NXX XX XX", trunk=False),
    Plan("39", "02 NXXX XXXX|06 NXX XXX XX|347 NXX XXXX|333 NXXXXXX", trunk=False),
    Plan("31", "20 NXX XXXX|6 1NXX XXXX|6 2X XX XX XX|10 NXX XX XX"),
    Plan("43", "1 NXX XX XX|664 NXX XXXX|316 NXXXXX|676 NXXXXXX", "+43 (1) NXX XX XX-0|+43 664/NXX XX XX", slash=True),
    Plan("41", "44 NXX XX XX|79 NXX XX XX|76 NXX XX XX|22 NXX XX XX"),
    Plan("32", "2 5XX XX XX|475 XX XX XX|486 XX XX XX", "+32 (0)497/XX.XX.XX", slash=True),
    Plan("48", "22 NXX XX XX|601 XXX XXX|505 XXX XXX|692 XXX XXX", "+48 (22) NXX-XX-XX", trunk=False),
    Plan("46", "8 NXX XXX XX|70 NXX XX XX|73 NXX XX XX", "+46 (0)8-NXX XXX XX"),
    Plan("91", "98XXX XXXXX|22 2NXX XXXX|80 4NXX XXXX|99XX XXXXXX", "+91-98XXX-XXXXX", trunk=False),
    Plan("61", "2 9NXX XXXX|412 XXX XXX|3 9NXX XXXX|438 XXX XXX"),
    Plan("55", "11 97XXX XXXX|21 2NXX XXXX|41 99XXX XXXX", "+55 (11) 98XXX-XXXX|+55 21 2NXX-XXXX", trunk=False),
    Plan("81", "3 5NXX XXXX|90 NXXX XXXX|80 NXXX XXXX", "+81-3-3NXX-XXXX|+81 (0)90-NXXX-XXXX"),
)


def phone(rng: Random) -> str:
    """A telephone number with country code, in one of the usual writings of its country."""
    plan = rng.choice(_PLANS)
    if plan.fixed and rng.random() < 0.3:
        return fill(rng, rng.choice(plan.fixed.split("|")))
    area, *rest = fill(rng, rng.choice(plan.numbers.split("|"))).split()
    code, tail = rng.choice(("+", "+", "+", "00")) + plan.code, " ".join(rest)
    forms = [sep.join((code, area, *rest)) for sep in (" ", " ", " ", ".", "-", "", "", NBSP)]
    forms += [
        f"{code} ({area}) {tail}",
        f"{code} {area} {'-'.join(rest)}",
        f"({code}) {area} {tail}",
        f"{code}-{area}-{''.join(rest)}",
    ]
    if plan.trunk:
        forms += [f"{code} (0){area} {tail}", f"{code} (0) {area} {tail}", f"{code}(0){area}{''.join(rest)}"]
    if plan.slash:
        forms += [f"{code} {area}/{''.join(rest)}", f"{code} {area} / {tail}", f"{code} (0){area}/{tail}"]
    return rng.choice(forms)


def phone_piece(rng: Random) -> Piece:
    """A telephone number behind the usual lead-ins, now and then with an unlabelled extension."""
    before = rng.choice(
        ("", "", "", "Tel. ", "Tel.:", "tel:", "☎ ", "Mobil: ", "T: ", "Fax ", "WhatsApp ", "m:", "Tél. ", "(Tel. ")
    )
    number = phone(rng)
    number = "".join(c for c in number if c in "+0123456789") if before == "tel:" else number
    after = ")" if before.startswith("(") else rng.choice(("",) * 18 + (" ext. 21", " x305"))
    return Piece(before, number, after)
