"""URLs of tenants: what is refused before any name is resolved, and that the checked URL is the one used."""

from __future__ import annotations

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from lapel.foundation.outbound.policy import OutboundPolicy
from lapel.foundation.outbound.urls import ForbiddenUrl, check_url

PUBLIC = OutboundPolicy()
OWN = OutboundPolicy(networks=(ip_network("10.1.0.0/16"), ip_network("127.0.0.1/32")))


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("https://example.com", "https://example.com"),
        ("HTTPS://Example.COM/Hook?a=1&b=%2B", "https://example.com/Hook?a=1&b=%2B"),
        ("https://example.com:8443/a/../b", "https://example.com:8443/b"),
        ("https://bücher.example/", "https://xn--bcher-kva.example/"),
        ("https://BÜCHER.example/", "https://xn--bcher-kva.example/"),
        ("https://bu\u0308cher.example/", "https://xn--bcher-kva.example/"),  # as macOS writes it
        ("https://xn--bcher-kva.example/", "https://xn--bcher-kva.example/"),
        ("https://faß.example/", "https://xn--fa-hia.example/"),
        ("https://my_host.example/", "https://my_host.example/"),
        ("https://8.8.8.8/", "https://8.8.8.8/"),
        ("https://[2606:4700:4700:0::1111]:8443/", "https://[2606:4700:4700::1111]:8443/"),
        ("https://example.com/straße", "https://example.com/stra%C3%9Fe"),
    ],
)
def test_usable_urls_have_one_form(text: str, stored: str) -> None:
    assert check_url(text, PUBLIC) == stored
    assert check_url(stored, PUBLIC) == stored


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "must begin with https://"),
        ("example.com", "must begin with https://"),
        ("ftp://example.com/", "must begin with https://"),
        ("https:/example.com/", "must begin with https://"),
        ("http://example.com/", "LAPEL_OUTBOUND_NETWORKS"),
        ("https://", "no host"),
        ("https:///path", "no host"),
        ("https://:443/", "no host"),
        ("https://user@example.com/", "user name"),
        ("https://user:pass@example.com/", "user name"),
        ("https://example.com@127.0.0.1/", "user name"),
        ("https://example.com/#top", "fragment"),
        ("https://example.com#", "fragment"),
        ("https://example.com/\n", "cannot be seen"),
        (" https://example.com/", "cannot be seen"),
        ("https://exa\tmple.com/", "cannot be seen"),
        ("https://example.com/\u200b", "cannot be seen"),
        ("https://exam\u00adple.com/", "cannot be seen"),
        ("https://example.com\\@127.0.0.1/", "backslash"),
        ("https://example.com:0/", "port"),
        ("https://example.com:65536/", "port"),
        ("https://example.com:22/", "port 22"),
        ("https://8.8.8.8:25/", "port 25"),
        ("https://[2606:4700:4700::1111]:6667/", "port 6667"),
        ("https://example.com:/", "port"),
        ("https://example.com:+443/", "port"),
        ("https://example.com:٤٤٣/", "port"),
        ("https://::1/", "no host"),
        ("https://a:b:c/", "port"),
        ("https://example.com./", "end with a dot"),
        ("https://127.0.0.1./", "end with a dot"),
        ("https://exa..mple.com/", "not a valid name"),
        ("https://-example.com/", "not a valid name"),
        (f"https://{'a' * 64}.com/", "not a valid name"),
        (f"https://{'a.' * 127}com/", "not a valid name"),
        ("https://exa$mple.com/", "not a valid name"),
        ("https://%31%32%37.0.0.1/", "percent"),
        ("https://[fe80::1%25eth0]/", "percent"),
        ("https://[127.0.0.1]/", "cannot be read"),
        ("https://[::1", "cannot be read"),
        ("https://[::1]a/", "cannot be read"),
        ("https://2130706433/", "is a number"),
        ("https://127.1/", "is a number"),
        ("https://0177.0.0.1/", "is a number"),
        ("https://0x7f.1/", "is a number"),
        ("https://0x7f000001/", "is a number"),
        ("https://017700000001/", "is a number"),
        ("https://1.2.3.4.5/", "is a number"),
        ("https://256.1.1.1/", "is a number"),
        ("https://example.0x/", "is a number"),
        ("https://127.0.0.1/", "is not public (loopback"),
        ("https://10.1.2.3/", "is not public (private"),
        ("https://169.254.169.254/latest/meta-data/", "is not public (link-local"),
        ("https://100.64.0.1/", "is not public"),
        ("https://[::1]/", "is not public (loopback"),
        ("https://[::ffff:127.0.0.1]/", "is not public (loopback"),
        ("https://[64:ff9b::a9fe:a9fe]/", "is not public (NAT64"),
        ("https://[2002:7f00:1::]/", "is not public (6to4"),
        ("https://[fd00:ec2::254]/", "is not public (unique-local"),
        ("https://localhost/", "this machine itself"),
        ("https://a.LOCALHOST/", "this machine itself"),
        ("https://１２７.0.0.1/", "not public"),
        ("https://１．１．１．１/", "stand for other characters"),
        ("https://example。com/", "stand for other characters"),
        ("https://exampl\uff45.com/", "stand for other characters"),
        ("https://①②⑦.example/", "stand for other characters"),
        ("https://ⓛⓞⓒⓐⓛⓗⓞⓢⓣ/", "this machine itself"),
        ("https://example.com／@evil.example/", "user name"),
        ("https://example.com？.evil.example/", ""),
        ("https://xn--①.example/", ""),
        ("https://example.com/" + "a" * 2048, "longer than 2048"),
        ("https://example.com/" + "ß" * 1000, "when it is encoded"),
    ],
)
def test_unusable_urls_are_refused_with_a_sentence(text: str, words: str) -> None:
    with pytest.raises(ForbiddenUrl) as caught:
        check_url(text, PUBLIC)
    told = str(caught.value)
    assert words in told
    assert told.startswith("The ")
    assert told.endswith(".")


@pytest.mark.parametrize(
    "text", ["http://receiver.internal:8000/", "http://10.1.2.3/", "https://10.1.2.3/", "http://localhost:9/"]
)
def test_named_networks_are_allowed_also_by_http(text: str) -> None:
    assert check_url(text, OWN) == text


@pytest.mark.parametrize(
    "text", ["http://8.8.8.8/", "http://10.2.0.1/", "https://10.2.0.1/", "http://[::1]/"]
)
def test_other_networks_are_not(text: str) -> None:
    with pytest.raises(ForbiddenUrl):
        check_url(text, OWN)


HOSTILE = st.text(alphabet="a1.:/@[]%?#\\-_ x0１。①ßéＡ\u00ad\u0301\u202e\x00", max_size=30)


@given(HOSTILE | st.text(max_size=30))
def test_what_passes_is_read_in_the_same_way_again(rest: str) -> None:
    try:
        stored = check_url(f"https://{rest}", PUBLIC)
    except ForbiddenUrl:
        return
    assert stored.isascii()
    assert check_url(stored, PUBLIC) == stored
    url = URL(stored)
    assert str(url) == stored
    assert url.raw_host
    assert url.user is None
    # By the ears of another parser it is the same host.
    assert stored.removeprefix("https://").startswith((url.raw_host, f"[{url.raw_host}]"))
