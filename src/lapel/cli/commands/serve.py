"""`lapel serve`: runs everything in one process tree."""

from __future__ import annotations

import ipaddress
import time
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import msgspec
from cyclopts import Parameter
from rich.table import Table

from lapel.cli.shared.first_key import FirstKey, handed_over
from lapel.cli.shared.options import DataDir, Json, emit, named, say, warn_of_unknown_variables
from lapel.foundation import telemetry
from lapel.hosting.serve import Serving
from lapel.hosting.serve import serve as run
from lapel.settings import Settings, docs

_DOCS = {name: doc.text for name, doc in docs().items()}
Host: TypeAlias = Annotated[str | None, Parameter(help=_DOCS["host"])]
Port: TypeAlias = Annotated[int | None, Parameter(help=_DOCS["port"])]
Role: TypeAlias = Annotated[Literal["api", "worker", "store", "all"] | None, Parameter(help=_DOCS["role"])]
Processes: TypeAlias = Annotated[int | None, Parameter(help=_DOCS["api_processes"])]
Certificate: TypeAlias = Annotated[Path | None, Parameter(help=_DOCS["tls_cert"])]
PrivateKey: TypeAlias = Annotated[Path | None, Parameter(help=_DOCS["tls_key"])]
PublicUrl: TypeAlias = Annotated[str | None, Parameter(help=_DOCS["public_url"])]
StoreUrl: TypeAlias = Annotated[str | None, Parameter(help=_DOCS["store_public_url"])]


class Started(msgspec.Struct, frozen=True):
    """What `--json` prints once everything is up.

    On the first start the new key is in `key` on a terminal, and in the file `key_file` elsewhere. `seconds`:
    duration of the start.
    """

    base_url: str
    data_dir: str | None
    key: str | None
    key_file: str | None
    seconds: float


def serve(
    *,
    data_dir: DataDir = None,
    host: Host = None,
    port: Port = None,
    role: Role = None,
    api_processes: Processes = None,
    tls_cert: Certificate = None,
    tls_key: PrivateKey = None,
    public_url: PublicUrl = None,
    store_public_url: StoreUrl = None,
    json: Json = False,
) -> None:
    """Run the server: database, store, API and worker, until Ctrl-C.

    Every flag except --json has an environment variable of the same name, such as LAPEL_PORT;
    docs/settings.md lists the others. The first start makes the data folder and a secret key. A terminal
    shows the key once; without a terminal the key goes into the file `first-key` of the data folder.

    For example:

        lapel serve
        lapel serve --host 0.0.0.0 --public-url https://api.example.com
        lapel serve --port 8443 --tls-cert chain.pem --tls-key key.pem
        export LAPEL_DATABASE_URL=… LAPEL_SECRET=… LAPEL_S3_ENDPOINT=…
        lapel serve --role api --api-processes 4
    """
    settings = Settings.load(
        data_dir=data_dir, host=host, port=port, role=role, api_processes=api_processes, tls_cert=tls_cert,
        tls_key=tls_key, public_url=public_url, store_public_url=store_public_url,
    )  # fmt: skip
    telemetry.configure(settings.log_level, settings.log_format, "supervisor", waits=False)
    warn_of_unknown_variables()

    def announce(serving: Serving) -> None:
        done = serving.settings
        first = handed_over(serving.first_key, serving.folder) if serving.folder else FirstKey()
        folder = str(serving.folder) if serving.folder else None
        started = Started(
            done.listening_url if done.role == "worker" else done.base_url,
            folder,
            first.key,
            first.file,
            serving.seconds,
        )
        emit(started, json, lambda: _lines(started, done, first))
        if not json:
            _warn_of_links(done)

    run(settings, say, _check_secret, announce, time.monotonic)


def _check_secret(settings: Settings) -> None:
    from lapel.cli.doctor.secret_checks import check_secret  # noqa: PLC0415  # imports much

    check_secret(settings)


def _lines(started: Started, settings: Settings, first: FirstKey) -> Table:
    lines = [("Lapel is up", f"{started.base_url}   (documentation: {started.base_url}/docs)")]
    if settings.role in {"worker", "store"}:
        lines = [
            (
                "Lapel is up",
                f"role {settings.role} at {started.base_url}",
            )
        ]
    if started.data_dir is not None:
        lines.append(("Data folder", started.data_dir))
    if (key := first.line()) is not None:
        lines.append(("Secret key", key))
    lines.append(("Ready after", f"{started.seconds:.1f} s; Ctrl-C stops it"))
    return named(lines)


def _warn_of_links(settings: Settings) -> None:
    """Warns, if no public URL is set, that links will contain the listening address."""
    try:
        local = ipaddress.ip_address(settings.host).is_loopback
    except ValueError:
        local = settings.host == "localhost"
    if not local and settings.public_url is None and settings.role in {"all", "api"}:
        say(f"Links will name {settings.base_url}; set --public-url to the URL that clients use.")
