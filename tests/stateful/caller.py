"""HTTP for the state machine: plain httpx, every answer of the API held against the contract."""

from __future__ import annotations

import time
from typing import Any

import httpx

from tests.stateful.model import Answer
from tests.support.patience import LONG, Deadline
from tests.support.schema_check import check_answer
from tests.support.tenants import bearer

# A verification in the background takes milliseconds; the client need not wait as told.
PAUSE = 0.02
PATIENCE = 30.0


class Caller:
    """Calls the API with a token, and the store without one."""

    def __init__(self, url: str) -> None:
        self._http = httpx.Client(base_url=url, timeout=LONG, trust_env=False)

    def close(self) -> None:
        """No more calls."""
        self._http.close()

    def __call__(
        self, method: str, path: str, token: str | None, body: object = None, *, key: str | None = None
    ) -> httpx.Response:
        """One call, repeated as long as the answer is 425."""
        headers = ({} if token is None else bearer(token)) | ({"Idempotency-Key": key} if key else {})
        deadline = Deadline(PATIENCE)
        while True:
            answer = self._http.request(method, f"/v1{path}", headers=headers, json=body)
            fields = answer.headers.multi_items()
            asked = answer.request.url
            check_answer(method, asked.path, answer.status_code, fields, answer.content, asked.query.decode())
            if answer.status_code != 425 or deadline.has_passed():
                return answer
            time.sleep(PAUSE)

    def put(self, url: str, headers: dict[str, str], content: bytes) -> int:
        """PUT to a signed link; the status."""
        return self._http.put(url, headers=headers, content=content).status_code

    def get(self, url: str, headers: dict[str, str] | None = None) -> httpx.Response:
        """GET a signed link."""
        return self._http.get(url, headers=headers)


def answered(answer: httpx.Response) -> Answer:
    """What the model speaks of: a status, and the code of a refusal."""
    if answer.status_code < 400:
        return Answer(answer.status_code)
    told: dict[str, Any] = answer.json()
    return Answer(answer.status_code, told["error"]["code"])
