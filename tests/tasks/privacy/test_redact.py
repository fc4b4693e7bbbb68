from __future__ import annotations

import json
import subprocess
import sys
import textwrap

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.privacy.redact import Redactor

REDACTOR = Redactor(phone_regions=("US", "GB", "DE", "FR", "BE", "AT", "NL", "IN"))


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("mail anna.k+x@example.com now", "mail <EMAIL_ADDRESS> now"),
        ("anna@desk.local,bob@x.org;c@d.de", "<EMAIL_ADDRESS>,<EMAIL_ADDRESS>;<EMAIL_ADDRESS>"),
        ("+32 471 23 45 67", "<PHONE_NUMBER>"),
        ("my order is late, 0471 23 45 67", "my order is late, <PHONE_NUMBER>"),
        ("call me at 4155552671", "call me at <PHONE_NUMBER>"),
        ("Ring me on (202) 555-0143 please", "Ring me on <PHONE_NUMBER> please"),
        ("4155552671", "<PHONE_NUMBER>"),
        ("card 4111 1111 1111 1111 exp", "card <CREDIT_CARD> exp"),
        ("3782 822463 10005", "<CREDIT_CARD>"),
        ("BE68 5390 0754 7034 is mine", "<IBAN_CODE> is mine"),
        ("de89370400440532013000", "<IBAN_CODE>"),
        ("192.168.1.20 and fe80::1ff:fe23:4567:890a", "<IP_ADDRESS> and <IP_ADDRESS>"),
        ("ａnna＠example.com ０４７１ ２３ ４５ ６７", "<EMAIL_ADDRESS> <PHONE_NUMBER>"),
        ("an\u200bna@exa\u200bmple.com", "<EMAIL_ADDRESS>"),
        ("see _anna@example.com_ or __anna@example.com__", "see _<EMAIL_ADDRESS>_ or __<EMAIL_ADDRESS>__"),
        ("anna@example.com_old, anna@example.com2", "<EMAIL_ADDRESS>_old, <EMAIL_ADDRESS>2"),
        ("anna@example.com_bob@other.org", "<EMAIL_ADDRESS>_<EMAIL_ADDRESS>"),
        ("anna@example.com-asap anna@bücher.xn--p1ai", "<EMAIL_ADDRESS>-asap <EMAIL_ADDRESS>"),
        ("user=anna@example.com, x|anna@example.com|y", "user=<EMAIL_ADDRESS>, x|<EMAIL_ADDRESS>|y"),
        ("to/anna@example.com?email=anna@example.com&c=d", "to/<EMAIL_ADDRESS>?email=<EMAIL_ADDRESS>&c=d"),
        ("mail='anna@example.com' **Mail**anna@example.com", "mail='<EMAIL_ADDRESS>' **Mail**<EMAIL_ADDRESS>"),
        ("bounce+anna=example.com@list.org", "<EMAIL_ADDRESS>"),
    ],
)
def test_personal_data_is_replaced(text: str, redacted: str) -> None:
    assert REDACTOR.redact(text)[0] == redacted


@pytest.mark.parametrize(
    "text",
    [
        "Order BR-20391 of 2025-03-14",
        "order 4155552671 is late",
        "I called about order 4155552671",
        "BR-2039155526",
        "at 2024-05-01T10:30:00Z and 2024-05-01 10:30, 12/05/2024 14:30",
        "price 1299.00 EUR, 12 345 678 EUR, €12345678",
        "1714550400",
        "frame LN-88-2046-A, version 5.12.3, 620 x 580 x 310",
        "card 4111 1111 1111 1112",
        "std::vector at 10:30:00",
        "room 1204, 0x80070057",
        "react@18.2.0-next.cafe12, pkg@v1.0.0.rc1",
        "1deebd15fce065822b90654986272948 and 2aefec88bb7842f4df74139882683560",
        "chatcmpl-224656bee57b4936ab2e886397249887",
    ],
)
def test_other_numbers_are_left_alone(text: str) -> None:
    assert REDACTOR.redact(text) == (text, {})


def test_counts_are_by_entity() -> None:
    _, counts = REDACTOR.redact("a@b.com, c@d.com, +44 20 7946 0018")
    assert counts == {"EMAIL_ADDRESS": 2, "PHONE_NUMBER": 1}


def test_json_keeps_its_numbers_and_its_form() -> None:
    text = '{"id": 4155552671,  "phone": "4155552671", "n": 4111111111111112, "at": 1714550400123, "x": 1.50}'
    assert REDACTOR.redact(text)[0] == text.replace('"4155552671"', '"<PHONE_NUMBER>"')
    assert "4155552671" not in REDACTOR.redact('{"phone": 4155552671}', keep_numbers=False)[0]


def test_escapes_in_json_hide_nothing() -> None:
    redacted, counts = REDACTOR.redact('{"to": "anna\\u0040b.com", "note": "a\\nb"}')
    assert json.loads(redacted) == {"to": "<EMAIL_ADDRESS>", "note": "a\nb"}
    assert counts == {"EMAIL_ADDRESS": 1}


def test_a_card_number_among_the_numbers_of_json_becomes_a_string() -> None:
    text = '{"card": 4111111111111111, "all":[4111111111111111,-4111111111111111, 4111111111111111.5], "order": 7}'
    redacted, counts = REDACTOR.redact(text)
    assert json.loads(redacted) == {**json.loads(text), "card": "<CREDIT_CARD>",
                                    "all": ["<CREDIT_CARD>", -4111111111111111, 4111111111111111.5]}  # fmt: skip
    assert counts == {"CREDIT_CARD": 2}
    within = json.dumps({"arguments": '{"card": 4111111111111111}'})
    assert json.loads(json.loads(REDACTOR.redact(within)[0])["arguments"]) == {"card": "<CREDIT_CARD>"}
    assert Redactor(("EMAIL_ADDRESS",)).redact(text) == (text, {})


@pytest.mark.parametrize(
    ("said", "redacted"),
    [
        ("Contact:\nanna@example.com", "Contact:\n<EMAIL_ADDRESS>"),
        ("Call:\n0171 1234567", "Call:\n<PHONE_NUMBER>"),
        ('x\n4111 1111 1111 1111 was charged, "sorry" \\ 🙂', 'x\n<CREDIT_CARD> was charged, "sorry" \\ 🙂'),
        ("an\u200bna@example.com\tand \u00e9", "<EMAIL_ADDRESS>\tand \u00e9"),
        (json.dumps({"to": "Contact:\nanna@example.com"}), json.dumps({"to": "Contact:\n<EMAIL_ADDRESS>"})),
    ],
)
@pytest.mark.parametrize("ascii_only", [True, False])
def test_a_value_behind_an_escape_is_replaced_alone(said: str, redacted: str, ascii_only: bool) -> None:
    text = json.dumps({"reply": said, "n": 1.50}, ensure_ascii=ascii_only)
    assert REDACTOR.redact(text)[0] == json.dumps({"reply": redacted, "n": 1.50}, ensure_ascii=ascii_only)


def test_what_is_not_replaced_keeps_its_escapes() -> None:
    text = '{"a": "\\u00e9\\/ \\ud83d\\ude00 anna\\u0040example.com \\/\\u00e9"}'
    assert REDACTOR.redact(text)[0] == text.replace("anna\\u0040example.com", "<EMAIL_ADDRESS>")


_SAID = (
    "a@b.com", "+44 20 7946 0018", "0171 1234567", "4111 1111 1111 1111", "DE89370400440532013000", "10.0.0.1", "\n",
    "\t", "\\", '"', "\\n", "é", "🙂", "\u200b", "\x7f", "x", " ", "/", "_", "=", "{", "}", "[", "]", ":", "user=", "1",
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.lists(st.lists(st.sampled_from(_SAID), max_size=8).map("".join), max_size=3), st.booleans())
def test_json_is_replaced_as_what_its_strings_say(texts: list[str], ascii_only: bool) -> None:
    redacted, counts = REDACTOR.redact(json.dumps(texts, ensure_ascii=ascii_only))
    each = [REDACTOR.redact(text) for text in texts]
    assert json.loads(redacted) == [text for text, _ in each]
    assert sum(counts.values()) == sum(sum(found.values()) for _, found in each)


def test_only_configured_entities_are_found() -> None:
    text = "a@b.com +44 20 7946 0018"
    assert Redactor(entities=("PHONE_NUMBER",), phone_regions=("GB",)).redact(text)[0] == "a@b.com <PHONE_NUMBER>"
    assert Redactor(entities=()).find(text) == []


def test_national_numbers_need_their_region() -> None:
    assert Redactor(phone_regions=("BE",)).find("0471 23 45 67")
    assert not Redactor(phone_regions=("US",)).find("0471 23 45 67")


def test_unknown_entity_is_refused() -> None:
    with pytest.raises(ValueError, match="NAME"):
        Redactor(entities=("NAME",))


def test_field_name_is_context() -> None:
    assert not REDACTOR.find("5550123")
    assert REDACTOR.find("5550123", before="phone: ")


def test_spans_point_at_the_original_text() -> None:
    text = "naïve\u200b: é ａ@b.com!"
    (span,) = REDACTOR.find(text)
    assert text[span.start : span.end] == "ａ@b.com"


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet='0123456789+()-. @abDE:/"{},\\n', max_size=60))
def test_nothing_is_left_after_redaction(text: str) -> None:
    assert REDACTOR.find(REDACTOR.redact(text)[0]) == []


@settings(max_examples=50, deadline=None)
@given(st.from_regex(r"[a-z]{1,8}(\.[a-z]{1,5})?@[a-z]{1,8}\.(com|org|local)", fullmatch=True), st.text(max_size=20))
def test_every_address_is_found(address: str, around: str) -> None:
    text = f"{around} {address} {around}"
    assert address not in REDACTOR.redact(text)[0]


def test_long_text_is_fast() -> None:
    text = "x" * 200_000 + "@" + "y" * 200_000 + " a@b.com " + "1 " * 1000
    assert "a@b.com" not in REDACTOR.redact(text)[0]


def test_presidio_is_loaded_only_for_candidates_and_without_spacy() -> None:
    code = """
        import sys
        from tasks.privacy.redact import Redactor
        redactor = Redactor(phone_regions=("US",))
        redactor.redact("nothing to see here, order 17")
        assert not any(m.startswith(("presidio", "phonenumbers", "tldextract")) for m in sys.modules)
        assert redactor.redact("a@b.com, +1 415 555 2671, 4111 1111 1111 1111")[0].count("<") == 3
        assert not {"spacy", "torch", "presidio_analyzer"} & set(sys.modules)
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True)


def test_presidio_itself_stays_importable() -> None:
    code = """
        import sys
        from tasks.privacy.redact import Redactor
        Redactor().redact("a@b.com")
        assert not any(m.startswith("presidio_analyzer") for m in sys.modules)
        from presidio_analyzer import Pattern
        assert Pattern("x", "y", 0.5).name == "x"
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True)
