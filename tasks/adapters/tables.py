"""Tables of the state database; the modules beside this one (`ledger`, `releases`, ...) hold the operations."""

from __future__ import annotations

import sqlalchemy as sa

metadata = sa.MetaData()

holdout = sa.Table(
    "holdout",
    metadata,
    sa.Column("project", sa.String, primary_key=True),
    sa.Column("entity", sa.String, primary_key=True, comment="Digest of the normalised prompt, or of the group."),
    sa.Column("version", sa.String, nullable=False, comment="Address of the version that held it out first."),
)
dataset_versions = sa.Table(
    "dataset_versions",
    metadata,
    sa.Column("project", sa.String, primary_key=True),
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("major", sa.Integer, primary_key=True),
    sa.Column("minor", sa.Integer, primary_key=True),
    sa.Column("patch", sa.Integer, primary_key=True),
    sa.Column("digest", sa.String, nullable=False),
    sa.Column("policy_digest", sa.String, nullable=False, comment="Over row schema, privacy, checks and split rules."),
    sa.Column("manifest_digest", sa.String, nullable=False),
    sa.Column("uri", sa.String, nullable=False),
    sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
    sa.UniqueConstraint("project", "name", "manifest_digest"),
)
releases = sa.Table(
    "releases",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("model", sa.String, nullable=False, index=True),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("adapter_digest", sa.String, nullable=False),
    sa.Column("action", sa.String, nullable=False, comment="waiting, promoted, rejected, rolled_back, failed"),
    sa.Column("actor", sa.String, nullable=False),
    sa.Column("reason", sa.String, nullable=False),
    sa.Column("at", sa.DateTime(timezone=True), nullable=False),
)
champions = sa.Table(
    "champions",
    metadata,
    sa.Column("model", sa.String, primary_key=True),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("previous", sa.Integer, nullable=True),
)
requests = sa.Table(
    "requests",
    metadata,
    sa.Column("id", sa.String, primary_key=True, comment="Answer id, as returned to the client."),
    sa.Column("at", sa.DateTime(timezone=True), nullable=False, index=True),
    sa.Column("model", sa.String, nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("agent", sa.String, nullable=False),
    sa.Column("user", sa.String, nullable=False),
    sa.Column("prompt", sa.Text, nullable=False, comment="JSON list of messages, personal data replaced."),
    sa.Column("answer", sa.Text, nullable=False, comment="Personal data replaced."),
    sa.Column("prompt_tokens", sa.Integer, nullable=False),
    sa.Column("completion_tokens", sa.Integer, nullable=False),
    sa.Column("milliseconds", sa.Integer, nullable=False),
    sa.Column("key_fingerprint", sa.String, nullable=False, server_default="", comment="Of the key of its subjects."),
)
request_subjects = sa.Table(
    "request_subjects",
    metadata,
    sa.Column("subject", sa.String, primary_key=True, comment="Keyed hash of an identifier in prompt or answer."),
    sa.Column("request", sa.String, primary_key=True, index=True),
)
api_keys = sa.Table(
    "api_keys",
    metadata,
    sa.Column("sha256", sa.String, primary_key=True, comment="Of a key with 256 random bits."),
    sa.Column("label", sa.String, nullable=False),
    sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
)
audit_log = sa.Table(
    "audit_log",
    metadata,
    sa.Column("seq", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("actor", sa.String, nullable=False),
    sa.Column("action", sa.String, nullable=False),
    sa.Column("object", sa.String, nullable=False),
    sa.Column("reason", sa.String, nullable=False),
    sa.Column("details", sa.Text, nullable=False, comment="Canonical JSON."),
    sa.Column("previous_digest", sa.String, nullable=False),
    sa.Column("digest", sa.String, nullable=False, comment="Over all other columns."),
)
vault_items = sa.Table(
    "vault_items",
    metadata,
    sa.Column("row_id", sa.String, primary_key=True),
    sa.Column("item", sa.String, nullable=False, unique=True, comment="Name of the encrypted file."),
    sa.Column("wrapped_key", sa.String, nullable=False, comment="The file's key, encrypted with the vault's key."),
    sa.Column("key_fingerprint", sa.String, nullable=False, comment="Of the vault's key."),
    sa.Column("kept_at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False, index=True),
)
vault_subjects = sa.Table(
    "vault_subjects",
    metadata,
    sa.Column("subject", sa.String, primary_key=True, comment="Keyed hash of an identifier."),
    sa.Column("row_id", sa.String, primary_key=True),
)
erasures = sa.Table(
    "erasures",
    metadata,
    sa.Column("id", sa.String, primary_key=True, comment="Number of the certificate."),
    sa.Column("marks", sa.Text, nullable=False, comment="JSON list of hashes of the keyed hashes."),
    sa.Column("actor", sa.String, nullable=False),
    sa.Column("reason", sa.String, nullable=False),
    sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
    sa.Column("plan", sa.Text, nullable=False, comment="JSON: what was found before anything was deleted."),
    sa.Column("done", sa.Text, nullable=False, comment="JSON: what was done so far."),
)

data_sources = sa.Table(
    "data_sources",
    metadata,
    sa.Column("source", sa.String, primary_key=True, comment="Digest of what the source is; no credentials."),
    sa.Column("shown", sa.String, nullable=False, comment="Address as people are told it."),
    sa.Column("salt", sa.LargeBinary, nullable=False, comment="Key of the hashes of its records."),
)
source_documents = sa.Table(
    "source_documents",
    metadata,
    sa.Column("source", sa.String, primary_key=True),
    sa.Column("address", sa.String, primary_key=True),
    sa.Column("token", sa.String, nullable=False, comment="Version at the source; empty: read it again."),
    sa.Column("digest", sa.String, nullable=False, comment="SHA-256 of the bytes."),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("present", sa.Boolean, nullable=False, comment="False once it was removed at the source."),
    sa.Column("first_seen", sa.DateTime(timezone=True), nullable=False),
    sa.Column("last_seen", sa.DateTime(timezone=True), nullable=False),
)
source_changes = sa.Table(
    "source_changes",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("source", sa.String, nullable=False, index=True),
    sa.Column("address", sa.String, nullable=False),
    sa.Column("change", sa.String, nullable=False, comment="added, changed, removed"),
    sa.Column("digest", sa.String, nullable=False, comment="Of the new content; empty for removed ones."),
    sa.Column("previous", sa.String, nullable=False, comment="Digest before; empty for added ones."),
    sa.Column("at", sa.DateTime(timezone=True), nullable=False),
)
source_records = sa.Table(
    "source_records",
    metadata,
    sa.Column("source", sa.String, primary_key=True),
    sa.Column("key", sa.LargeBinary(16), primary_key=True, comment="Keyed hash of the record's key."),
    sa.Column("digest", sa.LargeBinary(16), nullable=False, comment="Keyed hash of the record."),
)
row_decisions = sa.Table(
    "row_decisions",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("row_id", sa.String, nullable=False, index=True),
    sa.Column("action", sa.String, nullable=False, comment="accept, repair, withdraw"),
    sa.Column("rule", sa.String, nullable=False, comment="Code of the rule that an accepted row need not keep."),
    sa.Column("messages", sa.Text, nullable=False, comment="Repaired row: JSON list, personal data replaced."),
    sa.Column("subjects", sa.Text, nullable=False, comment="Repaired row: JSON list, keyed hashes of who was named."),
    sa.Column("reason", sa.String, nullable=False),
    sa.Column("actor", sa.String, nullable=False),
    sa.Column("at", sa.DateTime(timezone=True), nullable=False),
)
templates = sa.Table(
    "templates",
    metadata,
    sa.Column("name", sa.String, primary_key=True),
    sa.Column("sections", sa.Text, nullable=False, comment="JSON: sections of a configuration, no data, no secrets."),
    sa.Column("saved_from", sa.String, nullable=False, comment="Name of the file they were taken from."),
    sa.Column("at", sa.DateTime(timezone=True), nullable=False),
)

failures = sa.Table(
    "failures",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("code", sa.String, nullable=False, index=True, comment="TL-TRAIN-OOM-GPU, ..."),
    sa.Column("subject", sa.String, nullable=False, index=True, comment="Key of the training, or id of the run."),
    sa.Column("step", sa.Integer, nullable=True),
    sa.Column("change", sa.String, nullable=False, comment="What was done about it, in words of ours."),
    sa.Column("repaired", sa.Boolean, nullable=True, comment="Null until the work has ended."),
)

run_outputs = sa.Table(
    "run_outputs",
    metadata,
    sa.Column("run", sa.String, primary_key=True, comment="Id of the flow run in Prefect."),
    sa.Column("stage", sa.String, primary_key=True, comment="version, train, evaluate"),
    sa.Column("output", sa.String, primary_key=True, comment="Reference of the stage's output in the store."),
    sa.Column("about", sa.String, nullable=False, comment="Address of the dataset."),
    sa.Column("at", sa.DateTime(timezone=True), nullable=False),
)
run_processes = sa.Table(
    "run_processes",
    metadata,
    sa.Column("run", sa.String, primary_key=True, comment="Id of the flow run in Prefect."),
    sa.Column("host", sa.String, nullable=False),
    sa.Column("pid", sa.Integer, nullable=False),
    sa.Column("started", sa.Float, nullable=False, comment="Start of the process, which its number alone cannot tell."),
)
run_tags = sa.Table(
    "run_tags",
    metadata,
    sa.Column("run", sa.String, primary_key=True),
    sa.Column("tag", sa.String, primary_key=True),
)
run_notes = sa.Table(
    "run_notes",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("run", sa.String, nullable=False, index=True),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("actor", sa.String, nullable=False),
    sa.Column("at", sa.DateTime(timezone=True), nullable=False),
)
estimates = sa.Table(
    "estimates",
    metadata,
    sa.Column("training", sa.String, primary_key=True, comment="Key of the training."),
    sa.Column("at", sa.DateTime(timezone=True), nullable=False),
    sa.Column("device", sa.String, nullable=False, index=True, comment="As driver or system names it."),
    sa.Column("kind", sa.String, nullable=False, comment="Method, adapter and how it was estimated."),
    sa.Column("estimated_seconds", sa.Float, nullable=False),
    sa.Column("actual_seconds", sa.Float, nullable=False),
    sa.Column("estimated_bytes", sa.BigInteger, nullable=False),
    sa.Column("actual_bytes", sa.BigInteger, nullable=False),
)
