"""Maps a provider's error answers to RefusedForGood with a remedy, or to ProviderAway.

ProviderAway has the pause that the service asks for; the caller decides when it tries again. An answer's
body counts more than its status, because services answer 401 for a used-up quota, 403 for a rate
limit, and 429 for an account without credit. Source for `Retry-After`: RFC 9110, section 10.2.3.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, NamedTuple, cast

import msgspec

from lapel.slices.providers.provider_failures import AwayHow, Cause, ProviderAway, RefusedForGood

if TYPE_CHECKING:
    from lapel.slices.providers.http.account import Account

# The same request may succeed later: time-out, conflict, too early, too many requests.
_PASSING = frozenset({408, 409, 425, 429})
_CODES = ("code", "type", "status", "err_code", "category", "reason")
_MESSAGES = ("err_msg", "message", "error", "detail", "details", "msg")
# Searched in all codes, but in messages only if the status is 4xx and not in `_PASSING`: the message of a 429
# may say "rate quota", and such a refusal passes.
_CREDIT = re.compile(
    r"quota|credit|billing|payment|\bbalance\b|insufficient[_ ]funds|out[_ ]of[_ ]funds|spending",
    re.IGNORECASE,
)
_RATE = re.compile(
    r"rate[-_ ]?limit|too[_ ]many|slow[_ ]down|concurren|throttl|system_busy|overloaded", re.IGNORECASE
)
_PLAN = re.compile(
    r"\b(plan|subscription|tier|upgrade|country|region|territory)\b|permission|not[_ ]have[_ ]access",
    re.IGNORECASE,
)
# Google answers 400 for a bad key.
_KEY = re.compile(r"api_key_invalid|api key not valid", re.IGNORECASE)
_RETRY_INFO = re.compile(rb'"retryDelay"\s*:\s*"([0-9]{1,9}(?:\.[0-9]{1,9})?)s"')
_MODEL = re.compile(r"model|language/tier|unsupported_value", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderRefusal:
    """An answer other than 2xx. `headers`: any case. `waited`: seconds since the whole request was sent."""

    status: int
    content: bytes
    headers: Mapping[str, str]
    waited: float = 0.0


class _Advice(NamedTuple):
    """The cause of a refusal that lasts, what it means, and the operator's remedy; both may be empty."""

    cause: Cause
    reason: str
    remedy: str


def judged(
    account: Account, refusal: ProviderRefusal, now: datetime, longest_pause: float
) -> RefusedForGood | ProviderAway:
    """The error for a refusal. A pause that the service asks for is cut to `longest_pause` seconds."""
    words = account.clean(text_of(refusal.content))
    told = f"{account.name} answered {refusal.status}" + (f": {words.rstrip('.')}." if words else ".")
    codes = account.clean(" ".join(codes_of(refusal.content)))
    detail = f"{codes} {words}"
    advice = _advice(account, refusal, codes, words)
    if advice is None:
        pause = pause_of(refusal.headers, now, longest_pause)
        if pause is None:
            pause = _told_pause(refusal.content, longest_pause)
        return ProviderAway(told, how=_how(refusal.status), after=pause, status=refusal.status)
    cause, reason, remedy = advice
    fault = f"{told} {reason}".rstrip()
    return RefusedForGood(fault, refusal.status, detail, remedy=remedy, cause=cause)


def _how(status: int) -> AwayHow:
    if status in (408, 504):
        return "timed_out"
    return "overloaded" if status in (429, 503, 529) else "failed"


def _advice(account: Account, refusal: ProviderRefusal, codes: str, words: str) -> _Advice | None:
    """What is known about a refusal that lasts; None if another try may help."""
    setting = f"lapel providers set {account.slot}"
    status, wish = refusal.status, _header(refusal.headers, "x-should-retry")
    about_account = 400 <= status < 500 and status not in _PASSING
    if status == 402 or _CREDIT.search(codes) or (about_account and _CREDIT.search(words)):
        return _Advice(
            "account",
            "The account's credit or quota is used up, and another try cannot help.",
            f"Top it up, raise its limit, or let another engine answer: `{setting} --engine NAME`.",
        )
    if account.gives_up and status == 504 and refusal.waited >= account.gives_up * 0.9:
        return _Advice(
            "request",
            f"It stops after {account.gives_up / 60:.0f} minutes of work, so another try would stop too. "
            "Record in shorter parts.",
            f"Or let another engine answer: `{setting} --engine NAME`.",
        )
    may_pass = status in _PASSING or status >= 500
    if wish in ("true", "false"):  # the service knows better than its status
        may_pass = wish == "true"
    if may_pass or (status in (401, 403) and _RATE.search(f"{codes} {words}")):
        return None
    return _lasting(status, f"{codes} {words}", setting)


def _lasting(status: int, told: str, setting: str) -> _Advice:
    """What is known about a refusal by its status. `told`: its codes and words."""
    if status in (401, 403) and _PLAN.search(told):
        return _Advice(
            "account",
            "The key is known, but its account may not do this.",
            f"Check plan, permissions and region there, or set another key: `{setting} --key-file FILE`.",
        )
    if status in (401, 403) or _KEY.search(told):
        return _Advice("account", "", f"It refuses the key; set another one: `{setting} --key-file FILE`.")
    if 300 <= status < 400:
        return _Advice(
            "settings",
            "A redirect is not followed, because the new address would get the key.",
            f"Set the right address: `{setting} --base-url URL`.",
        )
    if status == 404:
        check = f"Check model and address: `{setting} --model NAME`, `{setting} --base-url URL`."
        return _Advice("settings", "", check)
    if status in (400, 422) and _MODEL.search(told):
        return _Advice(
            "request", "", f"If the model is the reason, name another one: `{setting} --model NAME`."
        )
    return _Advice("request", "", "")


def text_of(content: bytes) -> str:
    """The message for people in an error's body: plain text, or JSON with the message in a usual place."""
    told = _json(content)
    if told is None:
        text = content.decode(errors="replace")
        return "" if text.lstrip().startswith("<") else text  # an HTML page
    for _ in range(4):
        if isinstance(told, list) and told:
            told = cast("list[object]", told)[0]
        elif isinstance(told, dict):
            named = cast("dict[str, object]", told)
            told = next((named[key] for key in _MESSAGES if named.get(key)), None)
        else:
            break
    return told if isinstance(told, str) else ""


def codes_of(content: bytes) -> Iterator[str]:
    """The error codes for programs in an error's body, such as `insufficient_quota`."""
    waiting = [(_json(content), 0)]
    while waiting:
        told, depth = waiting.pop()
        if isinstance(told, list):
            waiting += [(each, depth + 1) for each in cast("list[object]", told)[:1] if depth < 4]
        elif isinstance(told, dict):
            named = cast("dict[str, object]", told)
            yield from (code for key in _CODES if isinstance(code := named.get(key), str))
            waiting += [(named.get(key), depth + 1) for key in _MESSAGES if depth < 4]


def pause_of(headers: Mapping[str, str], now: datetime, longest: float) -> float | None:
    """Seconds to wait, at most `longest`, from the header `retry-after-ms`, else from `Retry-After`.

    None if there is neither.
    """
    precise = _header(headers, "retry-after-ms")
    if precise is not None:
        try:
            milliseconds = float(precise)
        except ValueError:
            milliseconds = math.nan
        if math.isfinite(milliseconds):
            return min(max(milliseconds / 1000, 0.0), longest)
    return retry_after(_header(headers, "retry-after"), now, longest)


def retry_after(value: str | None, now: datetime, longest: float) -> float | None:
    """Seconds to wait according to a Retry-After (seconds, or an HTTP date), at most `longest`.

    None if `value` is None or cannot be read.
    """
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            moment = parsedate_to_datetime(value)
        except (ValueError, OverflowError):
            return None
        if moment.tzinfo is None:  # "-0000" means UTC without a known zone
            moment = moment.replace(tzinfo=UTC)
        seconds = (moment - now).total_seconds()
    return min(max(seconds, 0.0), longest) if math.isfinite(seconds) else None


def _told_pause(content: bytes, longest: float) -> float | None:
    """Seconds to wait according to Google's `RetryInfo` in an error's body; None without one."""
    found = _RETRY_INFO.search(content)
    return None if found is None else min(float(found[1]), longest)


def _header(headers: Mapping[str, str], name: str) -> str | None:
    return next((value.strip() for each, value in headers.items() if each.lower() == name), None)


def _json(content: bytes) -> object:
    """The decoded JSON; None when the content is not JSON."""
    try:
        return msgspec.json.decode(content)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
