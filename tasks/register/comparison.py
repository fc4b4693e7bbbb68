"""The version that a candidate has to be compared with, as it lies on this machine."""

from __future__ import annotations

from tasks.adapters import registry
from tasks.contracts import ServedModel
from tasks.errors import ModelUnavailable


def compared_with(name: str, alias_or_version: str | int) -> ServedModel | None:
    """A champion of today or of an earlier time; None where there is none.

    Raises:
        ModelUnavailable: its base model is gone, or is another one now. Nothing is compared without it: a candidate
            that nobody knows to be better must not replace what serves.
    """
    try:
        return registry.served(name, alias_or_version)
    except ModelUnavailable as error:
        today = alias_or_version == "champion"
        other = f"`tuneloop models rollback {name}`, or promote a version whose base is there; " if today else ""
        raise ModelUnavailable(
            "the champion that a candidate has to be compared with cannot be loaded",
            where=error.where,
            why=error.why,
            remedy=f"bring the base model back as it was; {other}or set registry.model_name to another name: what is "
            "trained on the new base then begins a model of its own",
        ) from error
