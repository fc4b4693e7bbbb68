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
        "30 N*** ****|89 N** *** **|221 N** ****|171 N** ** **|151 N*** ****|176 N** *** **",
        "+49 (0) 40 / N** **-0|+49 211 N****-**|+49 (0)69/N*****-**|+49 (0) 160 N** ** **",
        slash=True,
    ),
    Plan("44", "20 7N** ****|161 2** ****|7812 ******|7788 *** ***", "+44 (0)20-8N**-****"),
    Plan("33", "1 4* ** ** **|6 1* ** ** **|7 6* ** ** **|4 7* ** ** **", "+33(0)1.4*.**.**.**"),
    Plan(
        "1",
        "415 N4* ****|212 N7* ****|312 N4* ****|604 N7* ****|416 N4* ****|514 N7* ****",
        "+1 (415) N4*-****|+1(212)N7*-****|+1 604-N4*-****|+1 (416) N7*.****",
        trunk=False,
    ),
    Plan("34", "91 N** ** **|612 *** ***|655 ** ** **|93 N** ** **", trunk=False),
    Plan("39", "02 N*** ****|06 N** *** **|347 N** ****|333 N******", trunk=False),
    Plan("31", "20 N** ****|6 1N** ****|6 2* ** ** **|10 N** ** **"),
    Plan("43", "1 N** ** **|664 N** ****|316 N*****|676 N******", "+43 (1) N** ** **-0|+43 664/N** ** **", slash=True),
    Plan("41", "44 N** ** **|79 N** ** **|76 N** ** **|22 N** ** **"),
    Plan("32", "2 5** ** **|475 ** ** **|486 ** ** **", "+32 (0)497/**.**.**", slash=True),
    Plan("48", "22 N** ** **|601 *** ***|505 *** ***|692 *** ***", "+48 (22) N**-**-**", trunk=False),
    Plan("46", "8 N** *** **|70 N** ** **|73 N** ** **", "+46 (0)8-N** *** **"),
    Plan("91", "98*** *****|22 2N** ****|80 4N** ****|99** ******", "+91-98***-*****", trunk=False),
    Plan("61", "2 9N** ****|412 *** ***|3 9N** ****|438 *** ***"),
    Plan("55", "11 97*** ****|21 2N** ****|41 99*** ****", "+55 (11) 98***-****|+55 21 2N**-****", trunk=False),
    Plan("81", "3 5N** ****|90 N*** ****|80 N*** ****", "+81-3-3N**-****|+81 (0)90-N***-****"),
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
