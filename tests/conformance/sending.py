"""Requests made by hand, for what no client library would send."""

from http.client import HTTPConnection
from urllib.parse import urlsplit

import httpx
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tests.conformance.servers import ACCESS_KEY, REGION, SECRET
from tests.support.patience import LONG
from tests.support.plain_http import http

KEYS = Credentials(ACCESS_KEY, SECRET)


def signed(method: str, url: str, body: bytes = b"", headers: dict[str, str] | None = None) -> httpx.Response:
    """Sign with botocore's header signer and send."""
    request = AWSRequest(method, url, headers=headers or {}, data=body)
    request.context["signing"] = {}
    S3SigV4Auth(KEYS, "s3", REGION).add_auth(request)
    return http.request(method, url, content=body, headers=dict(request.headers.items()))


def send(
    method: str, url: str, body: bytes | None = None, headers: dict[str, str] | None = None
) -> tuple[int, bytes]:
    """Send with a client that leaves the path alone."""
    parts = urlsplit(url)
    connection = HTTPConnection(parts.hostname or "", parts.port, timeout=LONG)
    try:
        connection.request(method, f"{parts.path}?{parts.query}", body, headers or {})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def code_of(answer: httpx.Response) -> str:
    return answer.text.partition("<Code>")[2].partition("</Code>")[0]
