"""Made-up credentials in the vendors' published key formats, and the code and config lines they stand in.

Sources: the vendors' documentation of key prefixes and lengths (AWS, GitHub and npm with their CRC-32 tail, GitLab,
Slack, Stripe, Google, OpenAI, Anthropic, SendGrid, Twilio, PyPI), RFC 7519 (JWT), RFC 7468 (PEM), RFC 3986 (user
information in URLs), the libpq, JDBC, ADO.NET and MongoDB connection strings. Every value is drawn at run time.
"""

import base64
import json
import string
import zlib
from collections.abc import Callable
from random import Random

from bench.pii_field_values import ALNUM, DIGITS, HEX, STD64, UPPER, URL64, Piece, chars, domain, syllables

Maker = Callable[[Random], str]


def b64url(raw: bytes) -> str:
    """base64url without padding (RFC 4648 section 5)."""
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def crc_token(prefix: str, body: str) -> str:
    """GitHub's and npm's published layout: prefix, 30 characters, CRC-32 of them in base 62."""
    number, tail = zlib.crc32(body.encode()), ""
    for _ in range(6):
        number, rest = divmod(number, 62)
        tail = ALNUM[rest] + tail
    return prefix + body + tail


def jwt(rng: Random) -> str:
    """A JSON Web Token with a readable header and payload and a random signature."""
    head = json.dumps({"alg": rng.choice(("HS256", "ES256", "RS256")), "typ": "JWT"}, separators=(",", ":"))
    issued = rng.randint(1_600_000_000, 1_790_000_000)
    body = json.dumps({"sub": chars(rng, HEX, 12), "iat": issued, "exp": issued + 3600}, separators=(",", ":"))
    signature = chars(rng, URL64, 342 if "RS256" in head else 43 if "HS256" in head else 86)
    return ".".join((b64url(head.encode()), b64url(body.encode()), signature))


def aws_id(rng: Random) -> str:
    """An AWS access key id, long-lived (AKIA) or temporary (ASIA)."""
    return rng.choice(("AKIA", "AKIA", "ASIA")) + chars(rng, UPPER + "234567", 16)


def aws_key(rng: Random) -> str:
    """An AWS secret access key."""
    return chars(rng, STD64, 40)


def github(rng: Random) -> str:
    """A classic, OAuth, app or fine-grained GitHub token."""
    if rng.random() < 0.4:
        return f"github_pat_{chars(rng, ALNUM, 22)}_{chars(rng, ALNUM, 59)}"
    return crc_token(rng.choice(("ghp_", "ghp_", "gho_", "ghs_", "ghu_")), chars(rng, ALNUM, 30))


def gitlab(rng: Random) -> str:
    """A GitLab personal, deploy or runner token, or the newer routable form."""
    if rng.random() < 0.3:
        return f"glpat-{chars(rng, URL64, 27)}.01.{chars(rng, DIGITS + string.ascii_lowercase, 9)}"
    return rng.choice(("glpat-", "glpat-", "gldt-", "glrt-")) + chars(rng, URL64, 20)


def slack(rng: Random) -> str:
    """A Slack bot or user token or an incoming webhook (the whole URL is the credential)."""
    team, bot = "T0" + chars(rng, DIGITS + UPPER, 9), "B0" + chars(rng, DIGITS + UPPER, 9)
    numbers = f"{chars(rng, DIGITS, 12)}-{chars(rng, DIGITS, 13)}"
    hook = f"https://hooks.slack.com/services/{team}/{bot}/{chars(rng, ALNUM, 24)}"
    user = f"xoxp-{numbers}-{chars(rng, DIGITS, 13)}-{chars(rng, HEX, 32)}"
    return rng.choice((f"xoxb-{numbers}-{chars(rng, ALNUM, 24)}", hook, user))


def stripe(rng: Random) -> str:
    """A live Stripe key, short or long form, or a webhook signing secret."""
    live = rng.choice(("sk", "rk")) + "_live_"
    return rng.choice(
        (live + chars(rng, ALNUM, 24), f"{live}51{chars(rng, ALNUM, 97)}", "whsec_" + chars(rng, ALNUM, 32))
    )


def language_model(rng: Random) -> str:
    """An OpenAI or Anthropic key."""
    mark = "T3Blbk" + "FJ"
    project = f"sk-proj-{chars(rng, URL64, 74)}{mark}{chars(rng, URL64, 74)}"
    classic = f"sk-{chars(rng, ALNUM, 20)}{mark}{chars(rng, ALNUM, 20)}"
    return rng.choice((project, classic, f"sk-ant-api03-{chars(rng, URL64, 93)}AA"))


def vendor_key(rng: Random) -> str:
    """Google, SendGrid, Twilio, npm or PyPI."""
    makers: tuple[Maker, ...] = (
        lambda r: "AIza" + "Sy" + chars(r, URL64, 33),
        lambda r: f"SG.{chars(r, URL64, 22)}.{chars(r, URL64, 43)}",
        lambda r: "SK" + chars(r, HEX, 32),
        lambda r: crc_token("npm_", chars(r, ALNUM, 30)),
        lambda r: "pypi-AgEIcHlwaS5vcmc" + chars(r, URL64, r.randint(130, 160)),
    )
    return rng.choice(makers)(rng)


def token(rng: Random) -> str:
    """A credential that its form alone gives away."""
    makers: tuple[Maker, ...] = (
        aws_id,
        github,
        gitlab,
        slack,
        stripe,
        language_model,
        vendor_key,
        vendor_key,
        vendor_key,
        jwt,
    )
    return rng.choice(makers)(rng)


def opaque(rng: Random) -> str:
    """A key without a vendor's mark: only its surroundings say that it is one."""
    shapes = ((HEX, 32), (HEX, 40), (HEX, 64), (ALNUM, 24), (ALNUM, 32), (ALNUM, 40), (URL64, 43), (ALNUM, 20))
    alphabet, length = rng.choice(shapes)
    return chars(rng, alphabet, length)


def password(rng: Random, marks: str = "!#%+*?_-^~@$") -> str:
    """A generated password: all classes of characters, a letter at both ends."""
    middle = [rng.choice(ALNUM) for _ in range(rng.randint(8, 16))]
    middle += [rng.choice(DIGITS), rng.choice(UPPER), *rng.choices(marks, k=rng.randint(0, 3))]
    rng.shuffle(middle)
    return rng.choice(string.ascii_letters) + "".join(middle) + rng.choice(string.ascii_lowercase)


def dsn(rng: Random) -> Piece:
    """A password in a connection string or as basic authentication in a URL."""
    user, host = rng.choice(("app", "svc_etl", "root", "reporting", "deploy")), f"{syllables(rng, 1)}-1.{domain(rng)}"
    place = rng.choice((
        (f"postgresql://{user}:", f"@{host}:5432/main"),
        (f"mysql+pymysql://{user}:", f"@{host}/shop?charset=utf8mb4"),
        (f"mongodb+srv://{user}:", f"@{host}/?retryWrites=true"), ("redis://:", f"@{host}:6379/0"),
        (f"amqps://{user}:", f"@{host}:5671/%2f"), (f"https://{user}:", f"@{host}/repo.git"),
        (f"Server={host};Database=crm;User Id={user};Password=", ";Encrypt=True;"),
        (f"ftp://{user}:", f"@{host}/export/"), (f"jdbc:postgresql://{host}/main?user={user}&password=", "&ssl=true"),
        (f"host={host} user={user} password=", " dbname=main"),
    ))  # fmt: skip
    return Piece(place[0], password(rng, "-_.~!*") if "//" in place[0] else password(rng, "!*_-."), place[1])


_ASSIGN: tuple[tuple[str, Maker, str], ...] = (
    ("password=", password, ""), ("DB_PASSWORD=", password, ""), ('"password": "', password, '"'),
    ("password: '", password, "'"), ("Passwort: ", password, ""), ("mot de passe : ", password, ""),
    ("contraseña: ", password, ""), ("pwd=", password, ""), ("spring.datasource.password=", password, ""),
    ("--password ", password, ""), ("<password>", lambda r: password(r, "!_-."), "</password>"),
    ('"api_key": "', opaque, '"'), ('api_key = "', opaque, '"'), ("export API_TOKEN=", opaque, ""),
    ("client_secret: ", opaque, ""), ("Authorization: Bearer ", opaque, ""), ("X-Api-Key: ", opaque, ""),
    ('const apiSecret = "', opaque, '";'), ("SECRET_KEY = '", lambda r: password(r, "!#%+*_-^()="), "'"),
    ('"client_secret":"', opaque, '"'), ("?access_token=", opaque, "&v=2"),
    ("TWILIO_AUTH_TOKEN=", lambda r: chars(r, HEX, 32), ""), ("aws_secret_access_key = ", aws_key, ""),
    ("AWS_SECRET_ACCESS_KEY=", aws_key, ""), ('"secretAccessKey": "', aws_key, '"'), ("auth_token: ", opaque, ""),
    ("GITHUB_TOKEN=", github, ""), ('STRIPE_KEY="', stripe, '"'), ("Authorization: Bearer ", jwt, ""),
    ("encryption-key: ", opaque, ""),
)  # fmt: skip


def secret_piece(rng: Random) -> Piece:
    """A secret as it is pasted into a message: bare key, assignment or connection string."""
    kind = rng.random()
    if kind < 0.4:
        return Piece("", token(rng))
    if kind < 0.8:
        before, maker, after = rng.choice(_ASSIGN)
        return Piece(before, maker(rng), after)
    return dsn(rng)


_PEM = (
    ("RSA PRIVATE KEY", "MIIEpAIBAAKCAQEA", 1588), ("PRIVATE KEY", "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCB", 1624),
    ("EC PRIVATE KEY", "MHcCAQEEI", 164), ("OPENSSH PRIVATE KEY", "b3BlbnNzaC1rZXktdjEAAAAA", 540),
    ("ENCRYPTED PRIVATE KEY", "MIIFHDBOBgkqhkiG9w0BBQ0wQTApBgkqhkiG9w0BBQww", 1740),
    ("PRIVATE KEY", "MC4CAQAwBQYDK2VwBCIEI", 64),
)  # fmt: skip


def pem(rng: Random, newline: str = "\n") -> str:
    """A private-key block; ``newline`` may be escaped (JSON) or carry an indentation (YAML)."""
    kind, head, length = rng.choice(_PEM)
    body = (head + chars(rng, STD64, length - len(head)))[:-2] + rng.choice(("==", "k=", "Q8"))
    lines = [body[i : i + 64] for i in range(0, len(body), 64)]
    if kind.startswith("RSA") and rng.random() < 0.2:
        lines = ["Proc-Type: 4,ENCRYPTED", f"DEK-Info: AES-128-CBC,{chars(rng, HEX.upper(), 32)}", "", *lines]
    return newline.join((f"-----BEGIN {kind}-----", *lines, f"-----END {kind}-----"))
