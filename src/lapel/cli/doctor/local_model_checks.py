"""The check of `lapel doctor` for the language model of this machine.

Without this model nothing is broken: the engine `local` answers with sentences of the transcripts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.cli.doctor.checks import Finding
from lapel.slices.language_models.local.language_weights import AUTO, INSTALL, OFF, REMEDY, find
from lapel.slices.language_models.model_failures import ModelFailed

if TYPE_CHECKING:
    from lapel.settings import Settings


def local_model(settings: Settings) -> Finding | None:
    """Which model the engine `local` runs; None on a machine that only stores.

    Reads a joined file, 1.1 GB, to compare its checksum.
    """
    part = "local model"
    if settings.role == "store":
        return None
    if settings.language_model == OFF:
        return Finding(part, "ok", "none, as set: the engine `local` answers with sentences of transcripts")
    try:
        found = find(settings.language_model)
    except ModelFailed as fault:
        return Finding(part, "broken", fault.message.removesuffix(REMEDY).strip(), REMEDY)
    if found is None:
        return Finding(
            part, "ok", "none: the engine `local` answers with sentences of transcripts",
            f"For answers in words of its own: `make local-llm` in a clone, else `{INSTALL}`.",
        )  # fmt: skip
    try:
        damage = found.damage()
    except OSError as fault:
        damage = f"{found.file} cannot be read ({fault.strerror})"
    if damage is not None:
        return Finding(part, "broken", damage, REMEDY)
    if not found.is_joined:
        return Finding(part, "ok", f"{found.name}; the first request joins its parts in {found.file.parent}")
    checked = ", checksum right" if settings.language_model == AUTO else ""
    return Finding(part, "ok", f"{found.name}, {found.file}{checked}")
