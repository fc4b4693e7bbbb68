"""Forms of keys that their vendors publish and detect-secrets does not know, or knows in an older form only.

Sources: the vendors' own pages on token formats and on what their secret scanning partners look for.
"""

from __future__ import annotations

import re

# Beginning of the key → what follows it. The beginning is a pattern too, so that a common word is no candidate.
KEY_FORMS: dict[str, str] = {
    "github_pat_": r"[A-Za-z0-9]{22}_[A-Za-z0-9]{40,}",
    "npm_": r"[A-Za-z0-9]{36}",
    "AIza": r"[A-Za-z0-9_-]{35}",  # Google
    "ya29\\.": r"[A-Za-z0-9_-]{20,}",  # Google, OAuth
    "sk-(?:proj|svcacct|admin|ant|or|lf)-": r"[A-Za-z0-9_-]{20,}",  # OpenAI, Anthropic, OpenRouter, Langfuse
    "sk-[A-Za-z0-9]{16}": r"[A-Za-z0-9]{16,}",  # the older form of several
    "whsec_": r"[A-Za-z0-9+/]{24,}={0,2}",  # webhooks: Stripe, Svix
    "SK[0-9a-f]{4}": r"[0-9a-f]{28}",  # Twilio
    "hf_[A-Za-z]{4}": r"[A-Za-z0-9]{28,}",  # Hugging Face
    "xapp-": r"[0-9]-[A-Z0-9]+-[0-9]+-[0-9a-f]{32,}",  # Slack, app level
    "dop_v1_": r"[0-9a-f]{64}",  # DigitalOcean
    "shp(?:at|ca|pa|ss)_": r"[0-9A-Fa-f]{32}",  # Shopify
    "dapi[0-9a-f]{4}": r"[0-9a-f]{28}(?:-[0-9])?",  # Databricks
    "NRAK-": r"[A-Z0-9]{27}",  # New Relic
    "lin_api_": r"[A-Za-z0-9]{32,}",  # Linear
    "AGE-SECRET-KEY-1": r"[0-9A-Z]{50,}",  # age
}
KEY_HEAD = "|".join(KEY_FORMS)
KEY_FORM = re.compile(
    rf"(?<![A-Za-z0-9])(?:{'|'.join(head + rest for head, rest in KEY_FORMS.items())})(?![A-Za-z0-9])"
)
