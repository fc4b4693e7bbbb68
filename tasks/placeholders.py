"""How a text shows where personal data was: the one form that is written by redaction and known to every stage."""

from __future__ import annotations

import re

PLACEHOLDER = re.compile(r"<[A-Z][A-Z_]*(?:_[a-p]{12})?>")  # <ENTITY>, or <ENTITY_sign> for a pseudonym
