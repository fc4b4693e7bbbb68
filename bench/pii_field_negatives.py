"""Hard negatives: strings that look like personal values or secrets to a pattern and are none.

Sources: RFC 9562 (UUID), ISO 8601, GS1 (EAN/ISBN check digits), UPU S10 (tracking), IEEE 802 (MAC), W3C trace context,
package managers' lockfiles, and the placeholders that documentation and config templates use.
"""

import re
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from random import Random

from bench.pii_field_values import ALNUM, DIGITS, HEX, STD64, UPPER, Piece, card, chars, fill, iban, luhn_sum, syllables

Maker = Callable[[Random], str]
_GROUP = re.compile(r"[ \-\u00a0]")
_DIGIT_RUN = re.compile(r"\d{12,19}")


def _moment(rng: Random) -> datetime:
    return datetime(2019, 1, 1, tzinfo=UTC) + timedelta(seconds=rng.randint(0, 220_000_000))


def _stamp(rng: Random) -> str:
    forms = (
        "%Y-%m-%dT%H:%M:%SZ",
        "%Y-%m-%d %H:%M:%S,123",
        "%Y-%m-%dT%H:%M:%S.412+02:00",
        "%d/%b/%Y:%H:%M:%S +0000",
        "%b %d %H:%M:%S",
    )
    return _moment(rng).strftime(rng.choice(forms))


def _date(rng: Random) -> str:
    return _moment(rng).strftime(rng.choice(("%Y-%m-%d", "%Y-%m-%d", "%d.%m.%Y", "%d/%m/%Y", "%Y%m%d")))


def _version(rng: Random) -> str:
    core = f"{rng.randint(0, 24)}.{rng.randint(0, 40)}.{rng.randint(0, 60)}"
    return core + rng.choice(("", "", "", "-rc.1", "-beta.3", "+build.512", ".post1"))


def _gs1(rng: Random, body: str) -> str:
    number = fill(rng, body)
    total = sum(int(d) * (3 if i % 2 else 1) for i, d in enumerate(c for c in number if c.isdigit()))
    return f"{number}{'-' if '-' in number else ''}{-total % 10}"


def _s10(rng: Random) -> str:
    body = fill(rng, "********")
    check = 11 - sum(int(d) * w for d, w in zip(body, (8, 6, 4, 2, 3, 5, 9, 7), strict=True)) % 11
    return f"R{rng.choice('ABEL')}{body}{0 if check == 10 else 5 if check == 11 else check}DE"


def _tracking(rng: Random) -> str:
    return rng.choice(
        (_s10(rng), "1Z" + chars(rng, DIGITS + UPPER, 6) + fill(rng, "**********"), fill(rng, "00340434************"))
    )


def _price(rng: Random) -> str:
    whole, cents = rng.randint(1, 9), f"{rng.randint(0, 999):03d}"
    return rng.choice(
        (
            f"{whole}.{cents},00 €",
            f"€{whole},{cents}.50",
            f"${whole},{cents}.95",
            f"CHF {whole}'{cents}.00",
            f"R$ {whole}.{cents},90",
        )
    )


def _coords(rng: Random) -> str:
    lat, lon = rng.uniform(-60, 70), rng.uniform(-170, 170)
    return rng.choice((f"{lat:.6f}, {lon:.6f}", f"{abs(lat):.4f}° N, {abs(lon):.4f}° E", f"geo:{lat:.5f},{lon:.5f}"))


def _public_block(rng: Random) -> str:
    kind = rng.choice(("CERTIFICATE", "PUBLIC KEY"))
    body = "MIIB" + chars(rng, STD64, 316)
    return "\n".join(
        (f"-----BEGIN {kind}-----", *(body[i : i + 64] for i in range(0, 320, 64)), f"-----END {kind}-----")
    )


def _mac(rng: Random) -> str:
    pairs = [f"{byte:02x}" for byte in rng.randbytes(6)]
    return rng.choice((":".join(pairs), ":".join(pairs).upper(), "-".join(pairs).upper()))


_PLACEHOLDERS = (
    "<API_KEY>", "<your-token>", "${TOKEN}", "${DB_PASSWORD:-}", "{{ secrets.DEPLOY_TOKEN }}", "$(cat token.txt)",
    "********", "your-api-key-here", "YOUR_SECRET_KEY", "[REDACTED]", "xxxxxxxxxxxxxxxx", "%(db_password)s",
    "••••••••••", "{{api_key}}", "<password>",
)  # fmt: skip
_CODE = (
    "password = getpass.getpass()", "api_key = os.environ['API_KEY']", "const token = process.env.AUTH_TOKEN;",
    "secret: !vault db/main", "api_key=None", "password: string;", "max_tokens: 4096", "token_type = 'bearer'",
    "if password != confirm_password:", "client_secret = settings.client_secret", "def reset_password(self, user):",
    "password_field: required", "secretKeyRef: app-secrets",
)  # fmt: skip
_PATHS = (
    "/var/lib/app/releases/20240317103015/current", "C:\\Users\\Public\\Documents\\export_2024.csv",
    "/usr/lib/python3.11/site-packages", "s3://raw-zone/2024/03/17/part-00001.parquet", "/api/v2/users/481/orders",
    "./node_modules/.pnpm/esbuild", "src/auth/password_reset.ts",
)  # fmt: skip
_EXTENSIONS = ("ext. 4***", "Durchwahl N**", "x3***", "DW -4*", "Kurzwahl 7*", "internal 5-4***", "poste 2**")
_SCOPES = ("std::chrono::seconds", "a::before", "Foo::Bar::call", "Vec::<u8>::new()", "input::-moz-focus-inner")
_OFFSETS = ("UTC+02:00", "+49,90 EUR", "+1N.* %", "GMT+0100", "+44 % YoY", "+3** points")
_PACKAGES = ("lodash", "@types/node", "react-dom", "@babel/core", "left-pad", "express", "@vue/cli")
_DECORATORS = (
    "@pytest.mark.parametrize",
    "@Override",
    "@app.route",
    "@dataclass",
    "@Autowired",
    "@Component",
    "@lru_cache",
    "@property",
)

NEGATIVES: dict[str, Maker] = {
    "uuid": lambda r: str(uuid.UUID(bytes=r.randbytes(16), version=4)),
    "sha": lambda r: chars(r, HEX, r.choice((40, 40, 64))), "short": lambda r: "d" + chars(r, HEX, 6),
    "version": _version, "build": lambda r: f"10.0.{r.randint(10240, 26100)}.{r.randint(300, 4500)}",
    "order": lambda r: fill(r, r.choice(("ORD-20**-00*****", "1N-0****-*****", "PO45000*****", "10000*****"))),
    "invoice": lambda r: fill(r, r.choice(("RE-202*-0****", "inv/202*/00***", "F202*-00***", "202*/1****"))).upper(),
    "tracking": _tracking,
    "ticket": lambda r: fill(r, r.choice(("#4****", "inc00*****", "OPS-1***", "[#8*****]", "CS-2*****"))).upper(),
    "badcard": lambda r: card(r, r.randint(1, 9)), "badiban": lambda r: iban(r, r.randint(1, 90)), "date": _date,
    "stamp": _stamp, "clock": lambda r: _moment(r).strftime("%H:%M:%S"),
    "epoch": lambda r: str(int(_moment(r).timestamp()) * r.choice((1, 1000)) + r.randint(0, 999)), "price": _price,
    "isbn": lambda r: _gs1(r, r.choice(("978-3-N**-*****", "978-0-N***-****", "9783N*******"))),
    "ean": lambda r: _gs1(r, r.choice(("40N*********", "50N*********", "87N*********"))), "coords": _coords,
    "handle": lambda r: "@" + syllables(r, 2) + r.choice(("", "_dev", "99", ".art")),
    "decorator": lambda r: r.choice(_DECORATORS),
    "pkg": lambda r: f"{r.choice(_PACKAGES)}@{r.randint(1, 20)}.{r.randint(0, 30)}.{r.randint(0, 20)}",
    "ext": lambda r: fill(r, r.choice(_EXTENSIONS)),
    "mac": _mac, "integrity": lambda r: f"sha512-{chars(r, STD64, 86)}==",
    "digest": lambda r: f"sha256:{chars(r, HEX, 64)}",
    "image": lambda r: "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAA" + chars(r, STD64, 60),
    "placeholder": lambda r: r.choice(_PLACEHOLDERS), "code": lambda r: r.choice(_CODE),
    "css": lambda r: r.choice((f"#{chars(r, HEX, 6)}", f"rgba({r.randint(0, 255)}, {r.randint(0, 255)}, 34, 0.8)")),
    "path": lambda r: r.choice(_PATHS),
    "vat": lambda r: fill(r, r.choice(("DE2********", "ATU6*******", "nl8********B01", "FR4*N********"))).upper(),
    "bic": lambda r: chars(r, UPPER, 4) + r.choice(("DEFFXXX", "ATWW", "FRPP", "CHZZ80A", "GB2L")),
    "oid": lambda r: f"1.3.6.1.4.1.{r.randint(300, 60000)}.{r.randint(1, 9)}.2",
    "doi": lambda r: fill(r, "10.1145/33N****.33N****"),
    "arn": lambda r: fill(r, "arn:aws:iam::N***********:role/") + syllables(r, 2),
    "trace": lambda r: f"00-{chars(r, HEX, 32)}-{chars(r, HEX, 16)}-01",
    "objid": lambda r: r.choice(("cus_", "evt_1", "price_1", "msg_", "run_")) + chars(r, ALNUM, r.choice((14, 23))),
    "pubkey": lambda r: "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI" + chars(r, STD64, 43), "cert": _public_block,
    "scope": lambda r: r.choice(_SCOPES),
    "hunk": lambda r: f"@@ -{r.randint(10, 900)},7 +{r.randint(10, 900)},9 @@",
    "offset": lambda r: fill(r, r.choice(_OFFSETS)),
}  # fmt: skip

_PHRASES = (
    ("version ", "version"), ("Windows build ", "build"), ("order ", "order"), ("Rechnung ", "invoice"),
    ("tracking number ", "tracking"), ("ticket ", "ticket"), ("commit ", "sha"), ("see ", "short"),
    ("correlation id ", "uuid"), ("item no. ", "badcard"), ("on ", "date"), ("at ", "clock"), ("epoch ", "epoch"),
    ("total ", "price"), ("ISBN ", "isbn"), ("EAN ", "ean"), ("location ", "coords"), ("thanks ", "handle"),
    ("decorated with ", "decorator"), ("we pin ", "pkg"), ("call me on ", "ext"), ("MAC ", "mac"),
    ("image ", "digest"), ("key is ", "placeholder"), ("colour ", "css"), ("file ", "path"), ("VAT no. ", "vat"),
    ("BIC ", "bic"), ("OID ", "oid"), ("doi:", "doi"), ("role ", "arn"), ("traceparent ", "trace"),
    ("object ", "objid"), ("in ", "scope"), ("now ", "offset"), ("invalid IBAN ", "badiban"),
)  # fmt: skip


def _luhn_valid(text: str) -> bool:
    groups = _GROUP.split(text)
    spans = ["".join(groups[i:j]) for i in range(len(groups)) for j in range(i + 1, len(groups) + 1)]
    runs = (*spans, *_DIGIT_RUN.findall(text), re.sub(r"\D", "", text))
    return any(run.isdigit() and 12 <= len(run) <= 19 and luhn_sum(run) == 0 for run in runs)


def negative(rng: Random, key: str) -> str:
    """A hard negative of a kind; its digits never form a number that passes the Luhn check."""
    while _luhn_valid(text := NEGATIVES[key](rng)):
        pass
    return text


def phrase(rng: Random) -> Piece:
    """A hard negative behind the words that name it."""
    before, key = rng.choice(_PHRASES)
    return Piece(before, negative(rng, key))
