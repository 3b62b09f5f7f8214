"""Reads the settings of Lapel from the environment, and says what follows from them.

No other module reads settings from the environment. `declared_settings.py` has the settings themselves.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from typing import cast

from lapel.declared_settings import DeclaredSettings
from lapel.parsers import GIB
from lapel.setting_conflicts import contradiction
from lapel.setting_fields import Doc, SettingsError, as_text, default_data_dir, parsed, variable


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Settings(DeclaredSettings):
    """All settings. Build it with `load` (this process) or `from_env` (any mapping)."""

    @classmethod
    def load(cls, **overrides: object) -> Settings:
        """Settings from this process's environment; `overrides` that are not None win.

        Raises SettingsError as `from_env` does.
        """
        return cls.from_env(os.environ, **overrides)

    @classmethod
    def from_env(cls, env: Mapping[str, str], **overrides: object) -> Settings:
        """Reads LAPEL_* from `env`; `overrides` (field name to value) that are not None win.

        An empty variable counts as unset. Raises SettingsError when a value cannot be parsed or two settings
        contradict each other, and TypeError when an override names no setting.
        """
        values: dict[str, object] = {"data_dir": default_data_dir(env)}
        for name, doc in docs().items():
            given = overrides.pop(name, None)
            raw = env.get(variable(name), "") if given is None else as_text(given)
            if raw != "":
                values[name] = parsed(name, raw, doc, as_flag=given is not None)
        if overrides:
            raise TypeError(f"no such setting: {', '.join(sorted(overrides))}")
        settings = cls(**values)  # pyright: ignore[reportArgumentType]  # each value came from its field's own parser
        given = {name for name in docs() if getattr(settings, name) is not None}
        if fault := contradiction(given, settings.role):
            raise SettingsError(fault)
        return settings

    def to_env(self) -> dict[str, str]:
        """The settings as LAPEL_* variables; `from_env` builds an equal object from them."""
        env: dict[str, str] = {}
        for name in docs():
            value = cast("object", getattr(self, name))
            if value is not None:
                env[variable(name)] = as_text(value)
        return env

    def __repr__(self) -> str:
        shown = ", ".join(
            f"{name}={'***' if doc.secret and getattr(self, name) else repr(getattr(self, name))}"
            for name, doc in docs().items()
        )
        return f"Settings({shown})"

    @property
    def base_url(self) -> str:
        """URL of the API for clients, without a trailing slash."""
        return self.public_url or self.listening_url

    @property
    def first_port(self) -> int:
        """The port to listen on; of a lone worker without `port` the first one to try."""
        usual = 8081 if self.role == "worker" else 8080  # an API may run on the same machine
        return usual if self.port is None else self.port

    @property
    def listening_url(self) -> str:
        """URL of the address that this machine listens on."""
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(self.host, self.host)  # noqa: S104
        host = f"[{host}]" if ":" in host and not host.startswith("[") else host
        return f"{'https' if self.tls_cert else 'http'}://{host}:{self.first_port}"

    @property
    def store_url(self) -> str:
        """The beginning of signed links: the URL of the S3 in the settings, or of the embedded store."""
        if self.s3_endpoint and not self.embedded_store:
            return self.s3_public_endpoint or self.s3_endpoint
        return self.store_public_url or self.base_url + self.store_path_prefix

    @property
    def uses_embedded_database(self) -> bool:
        """True when Lapel runs PostgreSQL itself."""
        return self.embedded_database or self.database_url is None

    @property
    def uses_embedded_store(self) -> bool:
        """True when Lapel's own S3 endpoint holds the objects."""
        return self.embedded_store or self.s3_endpoint is None

    @property
    def media_ceilings(self) -> dict[str, int]:
        """The most bytes of one upload, by the part of its Content-Type before the slash."""
        return {"audio": self.max_audio_bytes, "image": self.max_image_bytes, "video": self.max_video_bytes}

    @property
    def rate_limits_on(self) -> bool:
        """Whether rate limits apply; if `rate_limits` is unset, only with a database that is not embedded."""
        return not self.uses_embedded_database if self.rate_limits is None else self.rate_limits

    @property
    def rows_limit(self) -> int:
        """The bytes of rows that a world may have, 0 for any number, also if the setting is unset."""
        by_default = 0 if self.uses_embedded_database else 50 * GIB
        return by_default if self.rows_bytes_per_world is None else self.rows_bytes_per_world


def docs() -> dict[str, Doc]:
    """Field name to its Doc, in the order of the class."""
    return {field.name: cast("Doc", field.metadata["doc"]) for field in dataclasses.fields(Settings)}
