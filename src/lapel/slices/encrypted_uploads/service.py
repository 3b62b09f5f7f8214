"""What other slices use of encrypted uploads."""

from __future__ import annotations

from lapel.slices.encrypted_uploads.publication.publication_queries import (
    PublicationsWaitingRow,
    measure_publications,
)
from lapel.slices.encrypted_uploads.sessions.clearing import last_upload_ends

__all__ = ["PublicationsWaitingRow", "last_upload_ends", "measure_publications"]
