"""Whisper models from the Hugging Face hub. Only this module may reach the hub, and only to download.

HF_HOME, HF_ENDPOINT, HF_TOKEN and HF_HUB_OFFLINE have their usual meaning ("Environment variables" in the
documentation of huggingface_hub).
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Generator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from tqdm import tqdm

# The names that faster-whisper knows; a test compares the two lists.
REPOSITORIES: Final = {
    "tiny": "Systran/faster-whisper-tiny",
    "tiny.en": "Systran/faster-whisper-tiny.en",
    "base": "Systran/faster-whisper-base",
    "base.en": "Systran/faster-whisper-base.en",
    "small": "Systran/faster-whisper-small",
    "small.en": "Systran/faster-whisper-small.en",
    "medium": "Systran/faster-whisper-medium",
    "medium.en": "Systran/faster-whisper-medium.en",
    "large-v1": "Systran/faster-whisper-large-v1",
    "large-v2": "Systran/faster-whisper-large-v2",
    "large-v3": "Systran/faster-whisper-large-v3",
    "large": "Systran/faster-whisper-large-v3",
    "large-v3-turbo": "mobiuslabsgmbh/faster-whisper-large-v3-turbo",
    "turbo": "mobiuslabsgmbh/faster-whisper-large-v3-turbo",
    "distil-small.en": "Systran/faster-distil-whisper-small.en",
    "distil-medium.en": "Systran/faster-distil-whisper-medium.en",
    "distil-large-v2": "Systran/faster-distil-whisper-large-v2",
    "distil-large-v3": "Systran/faster-distil-whisper-large-v3",
    "distil-large-v3.5": "distil-whisper/distil-large-v3.5-ct2",
}
_FILES: Final = ["config.json", "preprocessor_config.json", "model.bin", "tokenizer.json", "vocabulary.*"]


class HubError(Exception):
    """A download failed; the message says why, in one line."""


def cache_folder(env: Mapping[str, str]) -> Path:
    """The folder in which huggingface_hub keeps models, according to its environment variables in `env`."""
    home = env.get("HF_HOME") or f"{env.get('XDG_CACHE_HOME') or '~/.cache'}/huggingface"
    return Path(env.get("HF_HUB_CACHE") or f"{home}/hub").expanduser()


def cached(repository: str) -> Path | None:
    """Folder of a model that was downloaded before; None if the model is missing or incomplete. Does not use
    the network."""
    from huggingface_hub import snapshot_download  # noqa: PLC0415  # slow, and rarely needed
    from huggingface_hub.errors import HFValidationError  # noqa: PLC0415

    try:
        return Path(snapshot_download(repository, allow_patterns=_FILES, local_files_only=True))
    except (OSError, HFValidationError):  # missing, incomplete or unreadable
        return None


def download(repository: str, report: Callable[[float], None]) -> Path:
    """Download a model and return its folder. Files of an earlier try are not downloaded again.

    `report` is called with the share of bytes, 0 to 1. Raises HubError when the download fails.
    """
    from huggingface_hub import snapshot_download  # noqa: PLC0415

    with _failures_as_ours():
        planned = snapshot_download(repository, allow_patterns=_FILES, dry_run=True)
    bar = _reporting(sum(file.file_size or 0 for file in planned if file.will_download), report)
    with _failures_as_ours():
        return Path(snapshot_download(repository, allow_patterns=_FILES, tqdm_class=bar))


@contextlib.contextmanager
def _failures_as_ours() -> Generator[None]:
    try:
        yield
    except Exception as fault:  # the client raises dozens of types, and all mean the same here
        cause = fault.__cause__ or fault
        told = re.sub(r"\S*https?://\S+", "…", str(cause).strip().partition("\n")[0])
        raise HubError(f"{type(cause).__name__}: {told}" if told else type(cause).__name__) from fault


def _reporting(wanted: int, report: Callable[[float], None]) -> type[tqdm[Any]]:
    """A class of progress bars that draw nothing and call `report`. The client makes several bars; those
    with the unit B count bytes. `wanted`: bytes to download."""
    from tqdm import tqdm  # noqa: PLC0415

    most = 0.0

    class Reporting(tqdm[Any] if TYPE_CHECKING else tqdm):  # generic for the type checker alone
        def display(self, msg: str | None = None, pos: int | None = None) -> None:  # noqa: ARG002 - as in tqdm
            nonlocal most
            share = min(self.n / max(wanted, 1), 1.0)
            if self.unit == "B" and share > most:
                most = share
                report(share)

    return Reporting
