"""The client for URLs of tenants against attackers: names, addresses, redirects, bad answers, bad TLS."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from ipaddress import ip_network
from pathlib import Path

import aiohttp
import pytest
from aiohttp.client_proto import ResponseHandler

from lapel.foundation.outbound.bounded_answers import MOST_INTERIM, HeadTooLarge, TooManyAnswers
from lapel.foundation.outbound.guarded_connector import CheckingResolver, ForbiddenAddress
from lapel.foundation.outbound.lookups import Lookups
from lapel.foundation.outbound.outbound_client import OutboundClient, open_client
from lapel.foundation.outbound.policy import OutboundPolicy
from tests.support.patience import patience
from tests.support.receivers import certificate_for, ok, receiving

PUBLIC = OutboundPolicy()
LOOPBACK = OutboundPolicy(networks=(ip_network("127.0.0.1/32"),))


class Names:
    """A name server: `answers` are given one after the other, the last one again and again."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = list(answers)
        self.asked = 0

    def lookup(self, _host: str) -> Sequence[str]:
        self.asked += 1
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def client_of(names: Names, policy: OutboundPolicy = LOOPBACK, total: float = 30) -> OutboundClient:
    return open_client(policy, total=total, connect=10, lookup=names.lookup)


async def get(client: OutboundClient, url: str) -> tuple[int, bytes]:
    async with client.request("GET", url) as response:
        return response.status, await response.read()


@pytest.mark.parametrize(
    "answer",
    [
        ["127.0.0.2"],
        ["10.0.0.1"],
        ["169.254.169.254"],
        ["100.64.0.1"],
        ["::1"],
        ["fe80::1%2"],
        ["::ffff:10.0.0.1"],
        ["64:ff9b::a9fe:a9fe"],
        ["2002:7f00:1::"],
        ["fd00:ec2::254"],
        ["1.1.1.1", "10.0.0.1"],  # one bad address refuses the name
        ["127.0.0.1", "::1"],
    ],
)
async def test_a_name_with_a_forbidden_address_is_refused(answer: list[str]) -> None:
    async with client_of(Names(answer)) as client:
        with pytest.raises(ForbiddenAddress) as caught:
            await get(client, "https://hooks.example/")
    assert str(caught.value) == (
        "hooks.example leads to an address that is not public. The operator may name its network in "
        "LAPEL_OUTBOUND_NETWORKS."
    )
    assert caught.value.address == answer[-1]  # for the operator, and in no text that a tenant reads


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "169.254.169.254", "[64:ff9b::7f00:1]", "0.0.0.0", "[::]"],
)
async def test_a_forbidden_address_in_the_url_is_refused(host: str) -> None:
    async with client_of(Names([]), PUBLIC) as client:
        with pytest.raises(ForbiddenAddress, match="is not public"):
            await get(client, f"https://{host}/")


@pytest.mark.parametrize("host", ["2130706433", "0177.0.0.1", "0x7f.1", "127.1", "0x7f000001", "localhost"])
async def test_numbers_that_the_system_reads_as_addresses_reach_nothing(host: str) -> None:
    # With the look-up of the system, which knows all of them.
    async with receiving() as receiver, open_client(PUBLIC, total=30, connect=10) as client:
        with pytest.raises(aiohttp.ClientError):
            await get(client, f"https://{host}:{receiver.port}/")
    assert receiver.connections == 0


async def test_a_name_is_resolved_once_for_a_connection_and_what_was_checked_is_connected_to() -> None:
    names = Names(["127.0.0.1"], ["169.254.169.254"])  # rebinds after its first answer
    async with receiving() as receiver, client_of(names) as client:
        url = f"http://rebinding.example:{receiver.port}/"
        assert await get(client, url) == (200, b"ok")
        assert (names.asked, receiver.connections) == (1, 1)
        assert await get(client, url) == (200, b"ok")  # on the same connection
        assert (names.asked, receiver.connections) == (1, 1)
        assert f"Host: rebinding.example:{receiver.port}\r\n" in receiver.heads[0]
    async with client_of(names) as client:
        with pytest.raises(ForbiddenAddress):
            await get(client, url)


async def test_no_answer_of_the_name_server_is_kept_for_the_next_connection() -> None:
    async def once(_head: str, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    names = Names(["127.0.0.1"], ["127.0.0.1"], ["169.254.169.254"])
    async with receiving(once) as receiver, client_of(names) as client:
        url = f"http://rebinding.example:{receiver.port}/"
        for _ in range(2):
            assert await get(client, url) == (200, b"")
        with pytest.raises(ForbiddenAddress):
            await get(client, url)
        assert (names.asked, receiver.connections) == (3, 2)


async def test_http_reaches_only_named_networks() -> None:
    for answer in (["1.1.1.1"], ["127.0.0.1", "1.1.1.1"]):
        async with client_of(Names(answer)) as client:
            with pytest.raises(ForbiddenAddress, match="leads to an address that is called by http://"):
                await get(client, "http://hooks.example/")
    async with client_of(Names([])) as client:
        with pytest.raises(ForbiddenAddress, match=r"1\.1\.1\.1 is called by http://"):
            await get(client, "http://1.1.1.1/")


async def test_a_redirect_is_not_followed() -> None:
    async def redirect(_head: str, writer: asyncio.StreamWriter) -> None:
        writer.write(
            b"HTTP/1.1 302 Found\r\nLocation: http://169.254.169.254/latest/meta-data/\r\n"
            b"Content-Length: 0\r\n\r\n"
        )

    async with receiving(redirect) as receiver, client_of(Names(["127.0.0.1"])) as client:
        assert await get(client, f"http://hooks.example:{receiver.port}/") == (302, b"")
        assert len(receiver.heads) == 1


async def test_nothing_of_the_environment_and_no_cookie_is_used(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async def with_cookie(_head: str, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nSet-Cookie: a=b; Path=/\r\nContent-Length: 0\r\n\r\n")

    (tmp_path / "netrc").write_text("machine hooks.example login user password secret\n")
    (tmp_path / "netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    async with receiving(with_cookie) as receiver, receiving() as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        async with client_of(Names(["127.0.0.1"])) as client:
            for _ in range(2):
                assert await get(client, f"http://hooks.example:{receiver.port}/") == (200, b"")
    assert proxy.connections == 0
    assert len(receiver.heads) == 2
    assert not any("cookie" in head.lower() or "authorization" in head.lower() for head in receiver.heads)


@pytest.mark.parametrize("head", ["", "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n"])
async def test_an_answer_byte_by_byte_is_cut_by_the_time(head: str) -> None:
    async def slowly(_head: str, writer: asyncio.StreamWriter) -> None:
        writer.write(head.encode())
        for byte in b"HTTP/1.1 200 OK\r\nX: " + b"y" * 10_000:
            writer.write(bytes([byte]))
            await asyncio.sleep(0.02)

    async with receiving(slowly) as receiver, client_of(Names(["127.0.0.1"]), total=0.3) as client:
        with pytest.raises(TimeoutError):
            await get(client, f"http://hooks.example:{receiver.port}/")


@pytest.mark.parametrize(
    "piece",
    [b"HTTP/1.1 100 Continue\r\n\r\n", b"X: y\r\n", b"y" * 1000],
    ids=["interim answers", "headers", "one header"],
)
async def test_an_answer_whose_head_never_ends_is_cut(piece: bytes) -> None:
    async def endless(_head: str, writer: asyncio.StreamWriter) -> None:
        writer.write(b"" if piece.startswith(b"HTTP") else b"HTTP/1.1 200 OK\r\nZ: ")
        while True:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)

    async with receiving(endless) as receiver, client_of(Names(["127.0.0.1"]), total=60) as client:
        with pytest.raises(aiohttp.ClientError):
            await get(client, f"http://hooks.example:{receiver.port}/")


async def test_no_more_than_64_kib_of_headers_are_read() -> None:
    lines = 0

    async def many(_head: str, writer: asyncio.StreamWriter) -> None:
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n" + b"X: %b\r\n" % (b"y" * 2000) * lines + b"\r\nok"
        )

    async with receiving(many) as receiver, client_of(Names(["127.0.0.1"])) as client:
        url = f"http://hooks.example:{receiver.port}/"
        lines = 25
        for _ in range(2):
            assert await get(client, url) == (200, b"ok")
        lines = 60
        with pytest.raises(HeadTooLarge):
            await get(client, url)
        lines = 0
        assert await get(client, url) == (200, b"ok")


async def test_twenty_interim_answers_are_read_for_each_request_and_no_more() -> None:
    count = MOST_INTERIM

    async def interim(_head: str, writer: asyncio.StreamWriter) -> None:
        early = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
        writer.write(early * count + b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    async with receiving(interim) as receiver, client_of(Names(["127.0.0.1"])) as client:
        url = f"http://hooks.example:{receiver.port}/"
        for _ in range(2):
            assert await get(client, url) == (200, b"ok")
        assert receiver.connections == 1
        count += 1
        with pytest.raises(TooManyAnswers):
            await get(client, url)
        count = 10_000
        with pytest.raises(TooManyAnswers):
            await get(client, url)
        count = 0
        assert await get(client, url) == (200, b"ok")
        assert receiver.connections == 3


async def test_an_answer_to_no_request_is_not_that_of_the_next_one() -> None:
    """Some servers send 408 before they close an idle connection."""
    idle = asyncio.Event()

    async def respond(_head: str, writer: asyncio.StreamWriter) -> None:
        await ok(_head, writer)
        await idle.wait()
        writer.write(b"HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n")

    async with receiving(respond) as receiver, client_of(Names(["127.0.0.1"])) as client:
        url = f"http://hooks.example:{receiver.port}/"
        assert await get(client, url) == (200, b"ok")
        idle.set()
        await asyncio.sleep(0.1)  # the client reads it
        assert await get(client, url) == (200, b"ok")
        assert receiver.connections == 2


async def test_of_many_answers_to_no_request_only_a_few_are_parsed(monkeypatch: pytest.MonkeyPatch) -> None:
    idle, parsed = asyncio.Event(), list[int]()
    parse = ResponseHandler.data_received

    def counted(handler: ResponseHandler, data: bytes) -> None:
        parsed.append(len(data))
        parse(handler, data)

    async def respond(_head: str, writer: asyncio.StreamWriter) -> None:
        await ok(_head, writer)
        await idle.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n" * 10_000)

    async with receiving(respond) as receiver, client_of(Names(["127.0.0.1"])) as client:
        url = f"http://hooks.example:{receiver.port}/"
        assert await get(client, url) == (200, b"ok")
        monkeypatch.setattr(ResponseHandler, "data_received", counted)
        idle.set()
        async with patience(60):
            while not parsed:  # noqa: ASYNC110 - the client tells nobody
                await asyncio.sleep(0.01)
        assert sum(parsed) <= 4096
        assert await get(client, url) == (200, b"ok")


async def test_the_second_address_of_a_name_is_tried_after_the_first() -> None:
    names = Names(["127.0.0.2", "127.0.0.1"])
    policy = OutboundPolicy(networks=(ip_network("127.0.0.0/8"),))
    async with receiving() as receiver, client_of(names, policy) as client:
        assert await get(client, f"http://hooks.example:{receiver.port}/") == (200, b"ok")


async def test_a_compressed_answer_stays_compressed() -> None:
    async def zipped(_head: str, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\n\x1f\x8bxx")

    async with receiving(zipped) as receiver, client_of(Names(["127.0.0.1"])) as client:
        assert await get(client, f"http://hooks.example:{receiver.port}/") == (200, b"\x1f\x8bxx")
    assert "Accept-Encoding: identity\r\n" in receiver.heads[0]


async def test_host_and_sni_stay_those_of_the_url(tmp_path: Path) -> None:
    server, trusting = certificate_for("hooks.example", tmp_path)
    names = Names(["127.0.0.1"])
    async with (
        receiving(tls=server) as receiver,
        open_client(LOOPBACK, total=30, connect=10, tls=trusting, lookup=names.lookup) as client,
    ):
        assert await get(client, f"https://hooks.example:{receiver.port}/") == (200, b"ok")
        assert receiver.peers_sni == ["hooks.example"]
        assert f"Host: hooks.example:{receiver.port}\r\n" in receiver.heads[0]
        with pytest.raises(aiohttp.ClientConnectorCertificateError):  # a certificate of another name
            await get(client, f"https://other.example:{receiver.port}/")
        assert len(receiver.heads) == 1


async def test_a_certificate_that_nobody_vouches_for_is_an_error(tmp_path: Path) -> None:
    server, _ = certificate_for("hooks.example", tmp_path)
    async with receiving(tls=server) as receiver, client_of(Names(["127.0.0.1"])) as client:
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await get(client, f"https://hooks.example:{receiver.port}/")
    assert receiver.heads == []


async def test_https_to_a_server_without_tls_is_an_error() -> None:
    async def plainly(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    async with (
        await asyncio.start_server(plainly, "127.0.0.1", 0) as server,
        client_of(Names(["127.0.0.1"])) as client,
    ):
        with pytest.raises(aiohttp.ClientConnectorError):
            await get(client, f"https://hooks.example:{server.sockets[0].getsockname()[1]}/")


async def test_a_name_server_that_hangs_is_cut_by_the_time() -> None:
    go = threading.Event()

    def lookup(_host: str) -> Sequence[str]:
        go.wait(60)
        return ["127.0.0.1"]

    try:
        async with open_client(LOOPBACK, total=30, connect=10, lookup_seconds=0.01, lookup=lookup) as client:
            with pytest.raises(aiohttp.ClientConnectorDNSError):
                await get(client, "https://hanging.example/")
        async with open_client(LOOPBACK, total=0.01, connect=10, lookup=lookup) as client:
            with pytest.raises(TimeoutError):
                await get(client, "https://hanging.example/")
    finally:
        go.set()


async def test_of_very_many_addresses_all_are_checked_and_the_first_are_tried() -> None:
    many = [f"1.1.1.{number}" for number in range(200)]
    names = Names(many, [*many, "10.0.0.1"])
    resolver = CheckingResolver(
        OutboundPolicy(networks=(ip_network("1.0.0.0/8"),)), Lookups(names.lookup, 10)
    )
    assert [each["host"] for each in await resolver.resolve("many.example", 443)] == many[:8]
    with pytest.raises(ForbiddenAddress):
        await resolver.resolve("many.example", 443)


async def test_many_calls_at_once_share_connections() -> None:
    names = Names(["127.0.0.1"])
    async with (
        receiving() as receiver,
        open_client(LOOPBACK, total=30, connect=10, limit=20, lookup=names.lookup) as client,
    ):
        url = f"http://hooks.example:{receiver.port}/"
        answers = await asyncio.gather(*(get(client, url) for _ in range(200)))
    assert set(answers) == {(200, b"ok")}
    assert receiver.connections <= 20
