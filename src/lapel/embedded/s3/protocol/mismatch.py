"""Says why a signature does not match, as far as the store can know.

The store signs the request again with what it may have been signed for: another Host, Content-Type or method.
If one of these gives the signature that was sent, that is the reason. A caller learns only what its own link
was signed for.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product
from typing import NamedTuple
from urllib.parse import SplitResult, urlsplit

from lapel.embedded.s3.protocol.request import Request

_METHODS = ("GET", "PUT", "HEAD", "POST", "DELETE")
# The most characters of a header that an answer repeats.
_SHOWN = 100


class SignedElsewhere(NamedTuple):
    """What links of this store may be signed for: host names with their ports, and content types."""

    hosts: Sequence[str] = ()
    content_types: Sequence[str] = ()


NOWHERE = SignedElsewhere()


def links_of(store_url: str, content_types: Sequence[str]) -> SignedElsewhere:
    """What links are signed for whose URLs begin with `store_url`."""
    sealed = "application/octet-stream"  # what devices upload that encrypt
    return SignedElsewhere((host_header(urlsplit(store_url)),), (*content_types, sealed))


def host_header(url: SplitResult) -> str:
    """The Host header that a client sends: without the default port of the scheme."""
    usual = {"http": ":80", "https": ":443"}.get(url.scheme, "")
    return url.netloc.lower().removesuffix(usual) if usual else url.netloc.lower()


def reason(
    request: Request,
    names: Sequence[str],
    known: SignedElsewhere,
    matches: Callable[[str, Mapping[str, str]], bool],
) -> str:
    """A sentence for the client. `names`: of the signed headers.

    `matches` is called with a method and with headers that replace those of the request.
    """
    for method in _METHODS:
        if method != request.method and matches(method, {}):
            return f"The link was signed for {method}, and the request is a {request.method}."
    types = _types(request, known) if "content-type" in names else []
    for host, content_type in product([None, *_hosts(request, known)], [None, *types]):
        replaced = {"host": host, "content-type": content_type}
        others = {name: value for name, value in replaced.items() if value is not None}
        if others and matches(request.method, others):
            return " ".join(_differences(request, others))
    return (
        "The signature does not match the request. Use the URL unchanged, and send the signed headers with "
        f"the values that were signed: {', '.join(names)}."
    )


def _hosts(request: Request, known: SignedElsewhere) -> list[str]:
    forwarded = (request.header("x-forwarded-host") or "").split(",")[0].strip()
    return [*dict.fromkeys(each for each in (*known.hosts, forwarded) if each)]


def _types(request: Request, known: SignedElsewhere) -> list[str]:
    plain = (request.header("content-type") or "").partition(";")[0].strip()
    return [*dict.fromkeys(each for each in (*known.content_types, plain, plain.lower()) if each)]


def _differences(request: Request, others: Mapping[str, str]) -> Iterator[str]:
    for name, signed in others.items():
        sent = (request.header(name) or "")[:_SHOWN]
        shown = sent if sent.isascii() and sent.isprintable() else "another one"
        if name == "host":
            yield (
                f"The link was signed for the host {signed}, and the request's Host is {shown}. Use the URL "
                "unchanged; a proxy must pass Host on."
            )
        else:
            yield (
                f"The link was signed for Content-Type: {signed}, and the request's is {shown}. Send exactly "
                "the headers that came with the URL."
            )
