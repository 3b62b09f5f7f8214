"""The demo's calls: each is timed, and told together with the shell commands that do the same."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable, Mapping
from typing import TypeVar
from urllib.parse import urlsplit

import msgspec

from lapel.cli.shared.http_client import HttpAnswer, NoAnswer, request

# Seconds before the demo gives up on one answer.
ANSWER_TIMEOUT = 30
_PAUSE = 0.1
JSON = "application/json"
T = TypeVar("T")


class DemoError(Exception):
    """A step failed, or its answer breaks the contract; the message names the step and shows the answer."""


class DemoStep(msgspec.Struct, frozen=True, kw_only=True):
    """One finished step: its duration in milliseconds, and the shell commands that do the same."""

    name: str
    ms: float
    commands: list[str]


class DemoCalls:
    """Calls of a server's API; `report` is called with each step when the step has ended.

    base_url: URL of the API, without a trailing slash. tokens: by the name of the shell variable that has
    the token in the shown commands. clock: returns seconds.
    """

    def __init__(
        self,
        base_url: str,
        tokens: dict[str, str],
        report: Callable[[DemoStep], None],
        clock: Callable[[], float],
    ) -> None:
        self._base_url = base_url
        self.tokens = tokens
        self._report = report
        self.clock = clock

    def post(
        self,
        name: str,
        path: str,
        facts: Mapping[str, object],
        shape: type[T],
        *,
        token: str = "LAPEL_KEY",  # noqa: S107 - the name of a variable
        until: Callable[[T], bool] = lambda _: True,
        seconds: float = ANSWER_TIMEOUT,
        exports: Callable[[T], list[str]] = lambda _: [],
    ) -> T:
        """A step: one POST to the API, repeated `until` its answer is wanted; the answer as a `shape`.

        exports: shell commands that export values of the answer, because later commands need them.
        Raises DemoError, also when no wanted answer comes within `seconds`.
        """
        body = msgspec.json.encode(facts)
        headers = {"Authorization": f"Bearer {self.tokens[token]}", "Content-Type": JSON}
        curl = (
            f'curl -fsS "$LAPEL_URL{path}" -H "Authorization: Bearer ${token}" '
            f"-H 'Content-Type: {JSON}' -d {shlex.quote(body.decode())}"
        )

        def call() -> T:
            return decoded(self.send("POST", self._base_url + path, headers, body, {200, 201}), shape)

        return self.timed(name, curl, lambda: self._repeat(call, until, seconds), exports)

    def get(self, name: str, path: str, shape: type[T], *, until: Callable[[T], bool], seconds: float) -> T:
        """A step: GET the path every 0.1 s, as clients do, `until` the answer is wanted.

        Raises DemoError, also when no wanted answer comes within `seconds`.
        """
        headers = {"Authorization": f"Bearer {self.tokens['LAPEL_KEY']}"}

        def call() -> T:
            return decoded(self.send("GET", self._base_url + path, headers, None, {200}), shape)

        return self.timed(name, get_curl(path), lambda: self._repeat(call, until, seconds))

    def _repeat(self, call: Callable[[], T], until: Callable[[T], bool], seconds: float) -> T:
        deadline = self.clock() + seconds
        while not until(result := call()):
            if self.clock() > deadline:
                raise DemoError(f"not done within {seconds:.0f} s")
            time.sleep(_PAUSE)
        return result

    def timed(
        self,
        name: str,
        command: str,
        work: Callable[[], T],
        exports: Callable[[T], list[str]] = lambda _: [],
    ) -> T:
        """A step that does `work`. Raises DemoError that names the step."""
        start = self.clock()
        try:
            result = work()
        except DemoError as fault:
            raise DemoError(f"{name}: {fault}") from fault
        ms = (self.clock() - start) * 1000
        self._report(DemoStep(name=name, ms=ms, commands=[command, *exports(result)]))
        return result

    def send(
        self, method: str, url: str, headers: dict[str, str], body: bytes | None, expected: set[int]
    ) -> HttpAnswer:
        """One call to a URL. Raises DemoError when the answer has no `expected` status."""
        path = urlsplit(url).path
        try:
            answer = request(method, url, headers, body, timeout=ANSWER_TIMEOUT)
        except NoAnswer as fault:
            raise DemoError(f"no answer to {method} {path}: {fault}") from fault
        if answer.status not in expected:
            shown = answer.body[:500].decode(errors="replace")
            raise DemoError(f"{method} {path} was answered {answer.status}: {shown}")
        return answer


def decoded(answer: HttpAnswer, shape: type[T]) -> T:
    """The answer's body as a `shape`. Raises DemoError."""
    try:
        return msgspec.json.decode(answer.body, type=shape)
    except msgspec.DecodeError as fault:
        raise DemoError(f"an answer with unexpected fields: {fault}") from fault


def get_curl(path: str) -> str:
    """The shell command that GETs a path of the API with the key."""
    return f'curl -fsS "$LAPEL_URL{path}" -H "Authorization: Bearer $LAPEL_KEY"'
