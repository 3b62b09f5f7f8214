"""What `lapel listen` remembers between two runs: its signing secret, and its place in each stream."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import msgspec

from lapel.cli.shared.faults import CommandError
from lapel.hosting.data_folder import DataFolder, write_durably
from lapel.slices.webhooks.signing_secrets import new_secret

if TYPE_CHECKING:
    from pathlib import Path


class LastForwarded(msgspec.Struct, frozen=True):
    """The last event that was forwarded; the other fields are for people who read the file."""

    last_event_id: str
    forward_to: str
    world: str


class ListenState:
    """Files in the folder `listen` of a data folder."""

    def __init__(self, data_dir: Path) -> None:
        """Makes the folder. Raises DataFolderError when it cannot be made or belongs to another user."""
        folder = DataFolder(data_dir / "listen")
        folder.prepare()
        self._folder = folder.path

    def secret(self) -> str:
        """The secret that signs forwarded events; made by the first call."""
        path = self._folder / "secret"
        if not path.exists():
            write_durably(path, new_secret().encode())
        return path.read_text().strip()

    def last(self, forward_to: str, world: str) -> str | None:
        """The id of the last event that was forwarded; None if there is none.

        Raises CommandError when the file cannot be read.
        """
        path = self._path(forward_to, world)
        if not path.exists():
            return None
        try:
            return msgspec.json.decode(path.read_bytes(), type=LastForwarded).last_event_id
        except msgspec.DecodeError as fault:
            raise CommandError(f"{path} is damaged; delete it, or use --from-now.") from fault

    def note(self, forward_to: str, world: str, event_id: str) -> None:
        """Remember the last event that was forwarded."""
        last = LastForwarded(event_id, forward_to, world)
        write_durably(self._path(forward_to, world), msgspec.json.encode(last))

    def _path(self, forward_to: str, world: str) -> Path:
        name = hashlib.sha256(f"{forward_to}\n{world}".encode()).hexdigest()[:16]
        return self._folder / f"{name}.json"
