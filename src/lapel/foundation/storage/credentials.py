"""The access keys for signed links and for calls to the store: fixed, or expiring and renewed.

Source of the AWS chain: the documentation of botocore.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from importlib import import_module
from typing import Any, Protocol

from lapel.foundation.core.clock import Clock
from lapel.foundation.storage.errors import StoreUnavailable

_EARLY = timedelta(minutes=10)
_LOOK_AGAIN = timedelta(minutes=15)
_RETRY = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class Credentials:
    """One set of S3 keys. `session_token` and `expires_at` (timezone-aware) belong to temporary keys."""

    access_key_id: str
    secret_access_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)
    expires_at: datetime | None = None


class CredentialSource(Protocol):
    """Returns the present credentials."""

    def current(self) -> Credentials:
        """Return valid credentials without waiting; raise `StoreUnavailable` when there are none."""
        ...


@dataclass(frozen=True, slots=True)
class StaticCredentials:
    """Always the same credentials; their expiry, if they have one, is not checked here."""

    credentials: Credentials

    def current(self) -> Credentials:
        """Return the credentials given at the start."""
        return self.credentials


class RefreshingCredentials:
    """Credentials that are renewed before they expire.

    `fetch` may block (it asks a metadata service or STS). A renewal calls it in a thread of its own, and only
    one renewal runs at a time; meanwhile `current` returns the old credentials as long as they are valid. All
    credentials are fetched again after 15 minutes at the latest, because files and environments are rotated
    too.
    """

    def __init__(self, fetch: Callable[[], Credentials], clock: Clock) -> None:
        self._fetch = fetch
        self._clock = clock
        self._lock = threading.Lock()
        self._credentials: Credentials | None = None
        self._renew_at = clock.now()
        self._problem = "no credentials were loaded yet"

    def load(self) -> Credentials:
        """Fetch now, and block meanwhile; call this once at start.

        Raises `StoreUnavailable` when `fetch` fails and no valid credentials are held.
        """
        with self._lock:
            self._renew()
        return self.current()

    def current(self) -> Credentials:
        """Return valid credentials at once; starts a renewal in the background when one is due.

        Raises `StoreUnavailable` when the credentials have expired or were never loaded.
        """
        now = self._clock.now()
        if now >= self._renew_at and self._lock.acquire(blocking=False):
            threading.Thread(target=self._renew_and_release, name="s3-credentials", daemon=True).start()
        held = self._credentials
        if held is None or (held.expires_at is not None and held.expires_at <= now):
            raise StoreUnavailable(f"no valid S3 credentials: {self._problem}")
        return held

    def _renew_and_release(self) -> None:
        try:
            self._renew()
        finally:
            self._lock.release()

    def _renew(self) -> None:
        now = self._clock.now()
        try:
            fresh = self._fetch()
        except Exception as error:  # noqa: BLE001 - any provider's failure means the same: try again soon
            self._problem = (
                str(error) if isinstance(error, StoreUnavailable) else f"{type(error).__name__}: {error}"
            )
            self._renew_at = now + _RETRY
            return
        self._credentials = fresh
        self._problem = "the provider returned expired ones"
        due = now + _LOOK_AGAIN
        if fresh.expires_at is not None:
            due = max(min(due, fresh.expires_at - _EARLY), now + _RETRY)
        self._renew_at = due


def botocore_chain(clock: Clock) -> RefreshingCredentials:
    """Return the AWS default chain: environment, files, SSO, web identity, container and instance roles.

    Needs the extra `lapel[s3]` (botocore). Raises `StoreUnavailable` when botocore is not installed. Nothing
    is fetched before `load`.
    """
    try:
        session: Any = import_module("botocore.session")  # has no types, and only the extra brings it
    except ImportError as error:
        raise StoreUnavailable(
            "the AWS credential chain needs botocore: `pip install botocore` where Lapel is installed"
        ) from error

    def fetch() -> Credentials:
        found: Any = session.get_session().get_credentials()
        if found is None:
            raise StoreUnavailable("no AWS credentials in the environment, files or instance metadata")
        keys: Any = found.get_frozen_credentials()
        if not keys.access_key or not keys.secret_key:
            raise StoreUnavailable("the AWS credential chain found an empty key")
        expires_at: datetime | None = getattr(found, "_expiry_time", None)  # it has no public name
        return Credentials(keys.access_key, keys.secret_key, keys.token or None, expires_at)

    return RefreshingCredentials(fetch, clock)
