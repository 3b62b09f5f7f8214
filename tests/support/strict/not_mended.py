"""Differences from the contract that are known: what mends one takes its line out."""

from __future__ import annotations

import re

# Where (the path, or an event's type), and what the reader says of it.
_KNOWN = (
    (r"/v1/end-users/\w+/token", r"without expires_at"),
    (r"/v1/devices.*|device\..*", r"settings\.\w+: unknown"),
    (r"/v1/devices/\w+/settings", r"current_status: (unknown|without)"),
    (r"/v1/devices/\w+/state", r"last_(seen|synced)_by: '(device|key)' is none of"),
    (r"/v1/firmware-releases.*", r"unknown (project_id|has_more next_cursor)"),
    (r"/v1/firmware-releases.*", r"\.(changelog|ufw_sha256|ufw_file_size_bytes|release_sequence): None"),
    (r"/v1/firmware-releases.*", r"release_sequence and allow_downgrade"),
    (r"/v1/devices/\w+/ota.*|ota\..*", r"unknown (deadline_at rollout_id|has_more next_cursor)"),
    (r"/v1/recordings/\w+/download-url", r"unknown expires_in"),
    (r"/v1/transcriptions.*", r"segments\[\d+\]: unknown words"),
    (r"transcription\..*", r"data.transcription: unknown full_text text"),
    (r"/v1/(transcriptions|devices|recordings|audit-log).*", r"a page of \d+ rows"),
    (r"/v1/recordings.*|recording\..*", r"recording_(uuid|generation)"),
)


def tolerates(where: str, fault: str) -> bool:
    """Whether a fault is one of them."""
    return any(re.fullmatch(place, where) and re.search(words, fault) for place, words in _KNOWN)
