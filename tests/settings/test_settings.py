"""Settings: where each value comes from, what is refused and with which words, and its page."""

from __future__ import annotations

from ipaddress import ip_network
from pathlib import Path

import pytest

from lapel.parsers import format_limit, format_size
from lapel.process_environment import unknown_variables, unknown_variables_here
from lapel.setting_fields import SettingsError, variable
from lapel.settings import Settings, docs

PAGE = Path(__file__).parents[2] / "docs" / "settings.md"
SECRET = "s" * 32
EXTERNAL = {"LAPEL_DATABASE_URL": "postgresql://u@h/db", "LAPEL_SECRET": SECRET, "HOME": "/home/u"}


def test_defaults_are_loopback_and_embedded() -> None:
    settings = Settings.from_env({"HOME": "/home/u"})
    assert settings.data_dir == Path("/home/u/.local/share/lapel")
    assert settings.base_url == "http://127.0.0.1:8080"
    assert settings.store_url == "http://127.0.0.1:8080/store"
    assert settings.uses_embedded_database
    assert settings.uses_embedded_store
    assert not settings.rate_limits_on


def test_xdg_data_home_wins_over_home() -> None:
    settings = Settings.from_env({"HOME": "/home/u", "XDG_DATA_HOME": "/data"})
    assert settings.data_dir == Path("/data/lapel")


def test_an_override_wins_over_the_environment_and_none_does_not() -> None:
    env = {"HOME": "/home/u", "LAPEL_PORT": "1234", "LAPEL_HOST": "::1"}
    settings = Settings.from_env(env, port=80, host=None)
    assert (settings.port, settings.host) == (80, "::1")
    assert settings.base_url == "http://[::1]:80"


def test_an_empty_variable_counts_as_unset() -> None:
    assert Settings.from_env({"HOME": "/h", "LAPEL_DATABASE_URL": ""}).database_url is None


def test_the_time_of_an_answer_is_within_the_contract() -> None:
    assert Settings.from_env({"HOME": "/h"}).answer_timeout < 10
    with pytest.raises(SettingsError, match=r"at most 9\.5"):
        Settings.from_env({"HOME": "/h", "LAPEL_ANSWER_TIMEOUT": "10"})


def test_an_override_of_no_setting_is_a_mistake() -> None:
    with pytest.raises(TypeError, match="prot"):
        Settings.from_env({"HOME": "/h"}, prot=80)


@pytest.mark.parametrize(
    ("name", "raw", "value"),
    [
        ("inline_hash_bytes", "64KiB", 65536),
        ("max_video_bytes", "5 GiB", 5 * 2**30),
        ("body_limit", "100", 100),
        ("body_timeout", "2.5", 2.5),
        ("rate_limits", "ON", True),
        ("rate_limits", "0", False),
        ("trusted_proxies", "10.0.0.0/8, fd00::/8", (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))),
        ("store_path_prefix", "/objects/", "/objects"),
        ("public_url", "https://api.example.com/", "https://api.example.com"),
        ("outbound_networks", "10.1.0.0/16, ::1", (ip_network("10.1.0.0/16"), ip_network("::1/128"))),
    ],
)
def test_text_becomes_a_value(name: str, raw: str, value: object) -> None:
    assert getattr(Settings.from_env({"HOME": "/h", variable(name): raw}), name) == value


@pytest.mark.parametrize(
    ("env", "words"),
    [
        ({"LAPEL_PORT": "eighty"}, "LAPEL_PORT = 'eighty' is not a whole number; give one from 0 to 65535."),
        ({"LAPEL_PORT": "65536"}, "LAPEL_PORT = '65536' is out of range"),
        ({"LAPEL_PORT": "\u0663"}, "is not a whole number"),
        ({"LAPEL_ROLE": "web"}, "give one of api, worker, store, all"),
        ({"LAPEL_RATE_LIMITS": "maybe"}, "neither on nor off"),
        ({"LAPEL_BODY_LIMIT": "1MB"}, "is not a size"),
        ({"LAPEL_TRUSTED_PROXIES": "10.0.0.1/8"}, "is not a list of networks"),
        ({"LAPEL_BODY_TIMEOUT": "nan"}, "is not a time"),
        ({"LAPEL_HEADER_TIMEOUT": "0"}, "is not a time"),
        ({"LAPEL_OUTBOUND_NETWORKS": "10.1.2.3/16"}, "10.1.2.3/16 has host bits set"),
        ({"LAPEL_OUTBOUND_NETWORKS": "speech.local"}, "give networks such as 10.1.0.0/16,fd12:3456::/48"),
        ({"LAPEL_PUBLIC_URL": "api.example.com"}, "must begin with http:// or https://"),
        ({"LAPEL_PUBLIC_URL": "http://"}, "without a host name"),
        ({"LAPEL_PUBLIC_URL": "http://h:99999"}, "is not a URL that can be read"),
        ({"LAPEL_PUBLIC_URL": "http://u:p@h"}, "must not carry a user"),
        ({"LAPEL_PUBLIC_URL": "http://:p@h"}, "must not carry a user"),
        ({"LAPEL_STORE_PATH_PREFIX": "/v1"}, "is not a usable path prefix"),
        ({"LAPEL_TLS_CERT": "/c.pem"}, "LAPEL_TLS_CERT and LAPEL_TLS_KEY belong together"),
        ({"LAPEL_DATABASE_URL": "postgresql://h/d"}, "LAPEL_SECRET is not set"),
        ({"LAPEL_LISTEN_DATABASE_URL": "postgresql://h/d"}, "set both or neither"),
        ({"LAPEL_ROLE": "api"}, "let LAPEL_DATABASE_URL name a database"),
        ({**EXTERNAL, "LAPEL_ROLE": "worker"}, "let LAPEL_S3_ENDPOINT name a store"),
        ({"LAPEL_ROLE": "store"}, "the keys that it will accept"),
        ({"LAPEL_S3_ACCESS_KEY_ID": "a"}, "LAPEL_S3_SECRET_ACCESS_KEY belong together"),
        (
            {"LAPEL_S3_ACCESS_KEY_ID": "a", "LAPEL_S3_SECRET_ACCESS_KEY": "b"},
            "LAPEL_S3_ACCESS_KEY_ID is set without LAPEL_S3_ENDPOINT",
        ),
        ({"LAPEL_S3_PUBLIC_ENDPOINT": "https://s3"}, "is set without LAPEL_S3_ENDPOINT"),
    ],
)
def test_what_cannot_be_used_is_refused_with_the_remedy(env: dict[str, str], words: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_env({"HOME": "/h", **env})
    assert words in str(caught.value)


def test_a_secret_is_shown_neither_in_errors_nor_in_the_repr() -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_env({"HOME": "/h", "LAPEL_SECRET": "hunter2"})
    assert "hunter2" not in str(caught.value)
    shown = repr(Settings.from_env({**EXTERNAL, "LAPEL_DATABASE_URL": "postgresql://u:hunter2@h/db"}))
    assert "hunter2" not in shown
    assert SECRET not in shown


def test_children_read_equal_settings_from_their_environment() -> None:
    settings = Settings.from_env(
        {**EXTERNAL, "LAPEL_S3_ENDPOINT": "http://127.0.0.1:9", "LAPEL_EMBEDDED_STORE": "on"},
        rate_limits=True,
        outbound_networks="10.1.0.0/16,fd12:3456::/48",
    )
    assert Settings.from_env(settings.to_env()) == settings
    assert settings.store_url == settings.base_url + "/store"


def test_signed_links_name_the_public_endpoint_of_a_given_s3() -> None:
    env = {**EXTERNAL, "LAPEL_S3_ENDPOINT": "http://s3.internal"}
    assert Settings.from_env(env).store_url == "http://s3.internal"
    assert Settings.from_env(env, s3_public_endpoint="https://s3.example").store_url == "https://s3.example"


def test_the_limits_of_requests_are_those_of_the_contract() -> None:
    limits = {
        "rate_per_second": 100,
        "rate_per_minute": 1000,
        "upload_urls_per_minute": 30,
        "transcriptions_per_minute": 10,
        "device_per_minute": 60,
    }
    by_default = Settings.from_env(EXTERNAL)
    assert {name: getattr(by_default, name) for name in limits} == limits
    halved = {f"LAPEL_{name.upper()}": str(limit // 2) for name, limit in limits.items()}
    set_by_hand = Settings.from_env({**EXTERNAL, **halved})
    assert {name: getattr(set_by_hand, name) for name in limits} == {
        name: limit // 2 for name, limit in limits.items()
    }


def test_the_limits_of_sizes_are_those_of_the_contract() -> None:
    sizes = {
        "max_audio_bytes": 2 * 2**30,
        "max_image_bytes": 50 * 2**20,
        "max_video_bytes": 5 * 2**30,
        "inline_hash_bytes": 64 * 2**20,
        "max_firmware_bytes": 64 * 2**20,
    }
    by_default = Settings.from_env(EXTERNAL)
    assert {name: getattr(by_default, name) for name in sizes} == sizes
    halved = {f"LAPEL_{name.upper()}": str(size // 2) for name, size in sizes.items()}
    set_by_hand = Settings.from_env({**EXTERNAL, **halved})
    assert {name: getattr(set_by_hand, name) for name in sizes} == {
        name: size // 2 for name, size in sizes.items()
    }


def test_rate_limits_are_on_with_a_given_database() -> None:
    assert Settings.from_env(EXTERNAL).rate_limits_on
    assert not Settings.from_env(EXTERNAL, rate_limits=False).rate_limits_on


def test_rows_are_limited_unless_the_installation_serves_only_its_owner() -> None:
    assert Settings.from_env({}).rows_limit == 0
    assert Settings.from_env({}, rows_bytes_per_world="1GiB").rows_limit == 2**30
    assert Settings.from_env(EXTERNAL).rows_limit == 50 * 2**30
    assert Settings.from_env(EXTERNAL, rows_bytes_per_world=0).rows_limit == 0


def test_misspelt_variables_are_found() -> None:
    env = {"LAPEL_DATABSE_URL": "x", "LAPEL_PORT": "1", "LAPEL_READY_FD": "3", "PATH": "/bin"}
    env |= {"LAPEL_URL": "http://127.0.0.1:8080", "LAPEL_KEY": "sk_test_x"}  # of clients
    assert unknown_variables(env) == {"LAPEL_DATABSE_URL": "LAPEL_DATABASE_URL"}


@pytest.mark.parametrize(
    ("name", "meant"), [("LAPEL_PRT", "LAPEL_PORT"), ("LAPEL_KEEY", "LAPEL_KEY"), ("LAPEL_SOMETHING", None)]
)
def test_a_misspelt_variable_is_told_with_the_one_it_may_mean(name: str, meant: str | None) -> None:
    assert unknown_variables({name: "1"}) == {name: meant}


@pytest.mark.deep  # where variables say how much tests draw
def test_what_tests_start_gets_no_variable_of_the_tests() -> None:
    assert unknown_variables_here() == {}


def test_a_value_that_cannot_be_used_is_told_as_it_was_given() -> None:
    with pytest.raises(SettingsError) as told:
        Settings.from_env({}, port=99999)
    assert str(told.value) == "--port '99999' is out of range; give a number from 0 to 65535."
    with pytest.raises(SettingsError, match="LAPEL_PORT = '99999' is out of range"):
        Settings.from_env({"LAPEL_PORT": "99999"})


def _row(name: str) -> str:
    doc = docs()[name]
    default = Settings.from_env({"HOME": "/h"}).to_env().get(variable(name), "")
    shown = f"`{default}`" if default and name != "data_dir" else ""
    return f"| `{variable(name)}` | {shown} | {doc.text} |"


@pytest.mark.parametrize("name", [name for name, doc in docs().items() if not doc.internal])
def test_every_setting_has_its_line_on_the_page(name: str) -> None:
    assert _row(name) in PAGE.read_text().splitlines()


def test_the_page_names_no_setting_that_is_gone() -> None:
    named = {line.split("`")[1] for line in PAGE.read_text().splitlines() if line.startswith("| `LAPEL_")}
    assert named == {variable(name) for name, doc in docs().items() if not doc.internal}


@pytest.mark.parametrize(
    ("number", "written"),
    [(2 * 2**30, "2 GiB"), (3 * 2**29, "1536 MiB"), (2**10, "1 KiB"), (1500, "1500 bytes"), (0, "0 bytes")],
)
def test_a_size_is_written_exactly(number: int, written: str) -> None:
    assert format_size(number) == written


@pytest.mark.parametrize(
    ("number", "written"), [(2 * 2**30, "2147483648 bytes (2 GiB)"), (1500, "1500 bytes")]
)
def test_a_limit_of_bytes_is_said_once(number: int, written: str) -> None:
    assert format_limit(number) == written
