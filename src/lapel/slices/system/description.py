"""The API's own description, for programs and for people."""

from __future__ import annotations

import asyncio
from functools import cached_property
from typing import TYPE_CHECKING

import msgspec

from lapel.foundation.openapi import page
from lapel.foundation.openapi.document import document

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lapel.foundation.http.operations import Operation
    from lapel.foundation.openapi.schemas import Schema


class Description:
    """The document and its page, made at the first request, because most processes never need them."""

    def __init__(self, others: Sequence[Operation], server_url: str) -> None:
        """`others`: the operations of the other slices; pass those of this slice to `complete`."""
        self._operations = tuple(others)
        self._server_url = server_url

    def complete(self, own: Sequence[Operation]) -> None:
        """Add the operations of this slice, which themselves need this object."""
        self._operations = (*self._operations, *own)

    @cached_property
    def _document(self) -> Schema:
        return document(self._operations, server_url=self._server_url)

    @cached_property
    def _json(self) -> bytes:
        return msgspec.json.encode(self._document)

    @cached_property
    def _html(self) -> bytes:
        return page.page(self._document)

    async def document(self) -> bytes:
        """The OpenAPI document."""
        return await asyncio.to_thread(lambda: self._json)

    async def page(self) -> bytes:
        """The page that shows it."""
        return await asyncio.to_thread(lambda: self._html)
