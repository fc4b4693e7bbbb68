from __future__ import annotations

import json
import re
import time
from collections.abc import Iterable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.privacy import gate as gates
from tasks.privacy.redact import Redactor
from tasks.privacy.visible import as_seen

REDACTOR = Redactor(phone_regions=("US", "GB", "DE", "FR", "BE", "AT", "NL", "IN"))
JWT = (
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U"  # the RFC's example
)
BLOCK = "-----BEGIN RSA PRIVATE KEY-----\nMIIEowIBAAKCAQEA75gRvbBpFHyQ\nzCtm8eIyxGSpOpdJvjyhV6aLHPLgVEuq\n"


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("https://anna:hunter2@shop.io/x", "https://<URL_CREDENTIALS>@shop.io/x"),
        ("postgres://app:p!ss.w0rd@db.internal:5432/x", "postgres://<URL_CREDENTIALS>@db.internal:5432/x"),
        ("https://x.io/v1?p=2&access_token=abc12345def&n=1", "https://x.io/v1?p=2&access_token=<URL_CREDENTIALS>&n=1"),
        ("key AKIAIOSFODNN7EXAMPLE now", "key <SECRET> now"),
        ("ghp_0123456789abcdefghijABCDEFGHIJ012345.", "<SECRET>."),
        ("xoxb-123456789012-1234567890123-AbCdEfGhIjKlMnOpQrStUvWx", "<SECRET>"),
        ("sk_live_4eC39HqLyjWDarjtT1zdp7dc", "<SECRET>"),
        (f"Authorization: Bearer {JWT}", "Authorization: Bearer <SECRET>"),
        (f"see\n{BLOCK}-----END RSA PRIVATE KEY-----\nbye", "see\n<SECRET>\nbye"),
        ('password = "sunshine"', 'password = "<SECRET>"'),
        ("my password is hunter2x, ok", "my password is <SECRET>, ok"),
        ("DB_PASSWORD=s3cr3t-Value", "DB_PASSWORD=<SECRET>"),
        ("api_key: 9f86d081884c7d659a2feaa0c55ad015", "api_key: <SECRET>"),
        ('{"password": "sunshine", "name": "Margaret"}', '{"password": "<SECRET>", "name": "Margaret"}'),
        ("2221 0000 0000 0009", "<CREDIT_CARD>"),
        ("4111.1111.1111.1111", "<CREDIT_CARD>"),
        ("Kreditkarte 4111 1111 1111 1111 117 to friday", "Kreditkarte <CREDIT_CARD> 117 to friday"),
        ("to BE68 5390 0754 7034 when done", "to <IBAN_CODE> when done"),
        ("LU28 0019 4006 4475 0000 please", "<IBAN_CODE> please"),
        ("MT84MALT011000012345MTLCAST001S", "<IBAN_CODE>"),
        ("2001:db8::8a2e:370:7334 is up", "<IP_ADDRESS> is up"),
        ("٠٤٧١ ٢٣ ٤٥ ٦٧", "<PHONE_NUMBER>"),
    ],
)  # fmt: skip
def test_is_replaced(text: str, redacted: str) -> None:
    assert REDACTOR.redact(text)[0] == redacted


@pytest.mark.parametrize(
    "value",
    [
        "12345678Z", "X1234567L", "RSSMRA85T10A562S", "131052-308T", "15070649C103", "PESEL 44051401359",
        "NHS number 943 476 5919", "SSN: 219-09-9999", "my social security number is 219 09 9999",
        "TFN 876 543 210", "social insurance 130 692 544", "personnummer 811228-9874", "NRIC S1234567D",
        "TCKN 10000000146", "NI number AB 12 34 56 C", "Steuer-ID 86095742719", "Aadhaar 2341 2341 2346",
    ],
)  # fmt: skip
def test_national_ids_are_found(value: str) -> None:
    redacted, counts = REDACTOR.redact(f"Note: {value}.")
    assert counts == {"NATIONAL_ID": 1}
    assert not re.search(r"\d{3}", redacted)


@pytest.mark.parametrize(
    "text",
    [
        "12345678A", "PESEL 44051401358", "44051401359", "219-09-9999", "order 943 476 5919", "RSSMRA85T10A562X",
        "password: required", "your password is wrong", "the secret is practice", "token: ${TOKEN}", "react@18.2.0",
        "password = <your password>", "sha256 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "https://x.io/list?page=12&sort=name", "v1.2.3.4", "version 1.2.3.4", "OID 1.3.6.1.4.1.311",
        "GB00NWBK60161331926819",
        "550e8400-e29b-41d4-a716-446655440000", "ISBN 978-3-16-148410-0", "52.520008, 13.404954", "00:1B:44:11:3A:B7",
        "20 x 30 x 40 mm", "from 01.02.2024 to 03.04.2024 10:30",
    ],
)  # fmt: skip
def test_is_left_alone(text: str) -> None:
    assert REDACTOR.redact(text) == (text, {})


def test_many_findings_cost_no_more_than_a_few_each() -> None:
    text = "\n".join(f"user{i}@example.com, +44 20 7946 {i:04}" for i in range(3000))
    redacted, counts = REDACTOR.redact(text)
    assert counts == {"EMAIL_ADDRESS": 3000, "PHONE_NUMBER": 3000}
    assert "@" not in redacted


@pytest.mark.parametrize(
    "part", ["1", "1 ", "+1", "(", "@", "a@", "::", "1.", "ab12:", "://", "http://a:b", "eyJ", "eyJ.", "AB12",
             '"', "<A", "key ="],
)  # fmt: skip
def test_no_text_takes_long(part: str) -> None:
    text = f"call me, password: {part * (100_000 // len(part))} a@b.com"
    start = time.process_time()
    assert "a@b.com" not in REDACTOR.redact(text)[0]
    assert time.process_time() - start < 2


def test_text_in_other_scripts_keeps_its_characters() -> None:
    text = "Ελληνικά, кириллица, 漢字, emoji 🙂 – „quoted“ … ½ ﬁn"
    assert REDACTOR.redact(text) == (text, {})
    assert REDACTOR.redact(f"{text} a@b.com {text}")[0] == f"{text} <EMAIL_ADDRESS> {text}"


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=40))
def test_every_character_has_its_position(text: str) -> None:
    seen, positions = as_seen(text)
    assert len(seen) == (len(text) if positions is None else len(positions))
    assert positions is None or positions == sorted(positions)


_PIECES = (
    "a@b.com", "+44 20 7946 0018", "4111 1111 1111 1111", "DE89370400440532013000", "10.0.0.1", "fe80::1", "::1",
    "https://u:p12345@h.io", "?token=abcdefgh12", "AKIAIOSFODNN7EXAMPLE", JWT, "password: hunter2", "bearer ",
    "api key is ", "12345678Z", "nino ", "AB123456C", "2024-05-01", "x", " ", "\n", "<EMAIL_ADDRESS>", "é", "\u200b",
    "７", ":", "=", '"',
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(_PIECES), max_size=8))
def test_the_gate_lets_everything_through_that_a_look_finds(pieces: list[str]) -> None:
    text = as_seen("".join(pieces))[0]
    hits = gates.gate(*(pattern for pattern, _ in REDACTOR.looks))(text.encode())
    for index, (_, look) in enumerate(REDACTOR.looks):
        found: Iterable[object] = look(text, "")
        assert index in hits or not list(found)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(_PIECES), max_size=8))
def test_nothing_is_found_after_redaction(pieces: list[str]) -> None:
    for text in ("".join(pieces), json.dumps({"text": "".join(pieces)})):
        assert REDACTOR.find(REDACTOR.redact(text)[0]) == []
