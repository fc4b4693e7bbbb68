from __future__ import annotations

import json
import pickle
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.privacy.redact import ENTITIES, Redactor
from tasks.privacy.replacement import PLACEHOLDER
from tasks.privacy.subjects import subject_key, subject_keys, subjects_of

KEY = b"k" * 32
REGIONS = ("US", "GB", "BE")
VALUES = {
    "EMAIL_ADDRESS": "anna@example.com",
    "PHONE_NUMBER": "+32 471 23 45 67",
    "CREDIT_CARD": "4111 1111 1111 1111",
    "IBAN_CODE": "BE68 5390 0754 7034",
    "IP_ADDRESS": "192.168.1.20",
    "URL_CREDENTIALS": "https://anna:hunter2@shop.io",
    "SECRET": "AKIAIOSFODNN7EXAMPLE",
    "NATIONAL_ID": "12345678Z",
}
TEXT = " and ".join(VALUES.values())


def with_action(action: str, key: bytes = KEY) -> Redactor:
    return Redactor(ENTITIES, REGIONS, dict.fromkeys(ENTITIES, action), key)


@pytest.mark.parametrize("action", ["redact", "mask", "pseudonymise", "drop"])
def test_no_recogniser_finds_what_replaces_a_value(action: str) -> None:
    redactor = with_action(action)
    cleaned = redactor.clean(TEXT)
    assert cleaned.counts == dict.fromkeys(ENTITIES, 1)
    assert redactor.must_be_gone(cleaned.text) == []
    assert cleaned.drop == (action == "drop")
    for value in ("anna@", "471 23", "4111 1111", "5390", "192.168", "hunter2", "AKIA", "12345678"):
        assert value not in cleaned.text


@pytest.mark.parametrize("action", ["redact", "mask", "pseudonymise"])
def test_presidio_finds_nothing_either(action: str) -> None:
    from tasks.privacy.recognisers import findings

    text = with_action(action).clean(TEXT).text
    for name in ("EMAIL_ADDRESS", "CREDIT_CARD", "IBAN_CODE", "IP_ADDRESS", "ES_NIF"):
        assert findings(name, text) == []


def test_reported_values_stay_and_are_counted() -> None:
    redactor = Redactor(("EMAIL_ADDRESS", "IP_ADDRESS"), REGIONS, {"IP_ADDRESS": "report"}, KEY)
    cleaned = redactor.clean("a@b.com from 10.1.2.3")
    assert cleaned.text == "<EMAIL_ADDRESS> from 10.1.2.3"
    assert (cleaned.counts, cleaned.reported, cleaned.drop) == ({"EMAIL_ADDRESS": 1}, {"IP_ADDRESS": 1}, False)
    assert redactor.must_be_gone(cleaned.text) == []
    assert [span.entity for span in redactor.find(cleaned.text)] == ["IP_ADDRESS"]
    assert len(cleaned.subjects) == 2


def test_what_is_only_reported_hides_nothing_that_is_to_be_replaced() -> None:
    redactor = Redactor(("EMAIL_ADDRESS", "URL_CREDENTIALS"), REGIONS, {"URL_CREDENTIALS": "report"})
    assert "p@h.io" not in redactor.clean("https://u:p@h.io/").text


def test_masks_keep_the_end_of_cards_and_phones() -> None:
    cleaned = with_action("mask").clean("a@b.com 4111 1111 1111 1111, call +32 471 23 45 67, 10.1.2.3")
    assert cleaned.text == "a***@*** ***1111, call ***4567, ***"


def test_pseudonyms_are_the_same_over_a_dataset_and_differ_by_key() -> None:
    redactor = Redactor(("EMAIL_ADDRESS", "PHONE_NUMBER"), REGIONS, {"EMAIL_ADDRESS": "pseudonymise",
                        "PHONE_NUMBER": "pseudonymise"}, KEY)  # fmt: skip
    first = redactor.clean("Anna@Example.com wrote, her number is +32 471 23 45 67").text
    second = redactor.clean("later anna@example.com called from 0032 471/23.45.67").text
    signs = PLACEHOLDER.findall(first)
    assert signs == PLACEHOLDER.findall(second)
    assert re.fullmatch(r"<EMAIL_ADDRESS_[a-p]{12}>", signs[0])
    assert signs[0] not in redactor.clean("bob@example.com").text
    other = Redactor(("EMAIL_ADDRESS",), REGIONS, {"EMAIL_ADDRESS": "pseudonymise"}, b"x" * 32)
    assert other.clean("anna@example.com").text != signs[0]


def test_redacting_again_changes_nothing() -> None:
    for action in ("redact", "mask", "pseudonymise"):
        redactor = with_action(action)
        once = redactor.clean(TEXT).text
        assert redactor.clean(once)[:2] == (once, {})


@settings(max_examples=100, deadline=None)
@given(st.text(alphabet="0123456789+()-. @ab:/", max_size=50), st.sampled_from(["mask", "pseudonymise", "drop"]))
def test_nothing_is_left_whatever_the_action(text: str, action: str) -> None:
    redactor = with_action(action)
    assert redactor.must_be_gone(redactor.clean(text).text) == []


def test_subjects_are_those_that_an_operator_asks_for() -> None:
    redactor = Redactor(ENTITIES, REGIONS, {}, KEY)
    cleaned = redactor.clean("anna@example.com, 0471 23 45 67, BE68 5390 0754 7034, card 4111-1111-1111-1111")
    for query in ("ANNA@example.com ", "+32 471 23 45 67", "BE68539007547034", "4111 1111 1111 1111"):
        assert set(subjects_of(query, REGIONS, KEY)) & set(cleaned.subjects), query
    assert not set(subjects_of("bob@example.com", REGIONS, KEY)) & set(cleaned.subjects)
    assert cleaned.subjects == tuple(sorted(cleaned.subjects))
    assert "anna" not in "".join(cleaned.subjects)


@pytest.mark.parametrize(
    "text",
    [
        "user=anna@example.com", "email=Anna@example.com", "x|anna@example.com|y", "to/anna@example.com",
        "_anna@example.com_", "a=b&email=anna@example.com&c=d", "anna@example.com2",
        json.dumps({"reply": "Contact:\nanna@example.com"}),
    ],
)  # fmt: skip
def test_a_person_is_the_same_whatever_stands_beside_the_address(text: str) -> None:
    redactor = Redactor(("EMAIL_ADDRESS",), REGIONS, {"EMAIL_ADDRESS": "pseudonymise"}, KEY)
    plain, cleaned = redactor.clean("anna@example.com"), redactor.clean(text)
    assert cleaned.subjects == plain.subjects
    assert PLACEHOLDER.findall(cleaned.text) == [plain.text]
    assert set(plain.subjects) <= set(subjects_of("anna@example.com", REGIONS, KEY))


def test_an_address_that_looks_like_more_is_found_by_how_it_is_typed() -> None:
    redactor = Redactor(("EMAIL_ADDRESS",), REGIONS, {}, KEY)
    for typed in ("_anna@example.com", "a/b@example.com", "bounce+anna=example.com@list.org"):
        assert set(redactor.clean(f"mail {typed}").subjects) & set(subjects_of(typed, REGIONS, KEY)), typed


def test_subject_keys_depend_on_key_and_entity() -> None:
    one = subject_key("EMAIL_ADDRESS", "A@b.com", KEY)
    assert re.fullmatch(r"[0-9a-f]{32}", one)
    assert one == subject_key("EMAIL_ADDRESS", "a@b.com", KEY)
    assert one != subject_key("EMAIL_ADDRESS", "a@b.com", b"other")
    assert subject_key("PHONE_NUMBER", "+32 471 23 45 67", KEY) in subject_keys(
        "PHONE_NUMBER", "0471 23 45 67", REGIONS, KEY
    )
    assert subject_keys("SECRET", "x", REGIONS, KEY) == ()
    assert subject_keys("PERSON", "Anna", REGIONS, KEY) == ()
    assert subjects_of("anna  Meyer", (), KEY) == subject_keys("PERSON", "Anna Meyer", (), KEY)


def test_no_key_no_subjects() -> None:
    assert Redactor().clean("a@b.com").subjects == ()


@pytest.mark.parametrize(
    ("entities", "actions"),
    [
        (("EMAIL_ADDRESS",), {"EMAIL_ADDRESS": "hide"}),
        (("EMAIL_ADDRESS",), {"IP_ADDRESS": "mask"}),
        (("EMAIL_ADDRESS",), {"EMAIL_ADDRESS": "pseudonymise"}),
    ],
)
def test_what_has_no_effect_is_refused(entities: tuple[str, ...], actions: dict[str, str]) -> None:
    with pytest.raises(ValueError):
        Redactor(entities, REGIONS, actions)


def test_a_redactor_travels_to_another_process() -> None:
    redactor = pickle.loads(pickle.dumps(with_action("pseudonymise")))
    assert redactor.clean(TEXT) == with_action("pseudonymise").clean(TEXT)
