"""The API's own description, for programs and for people."""

from __future__ import annotations

import asyncio
from functools import cached_property
from typing import TYPE_CHECKING

import msgspec

from lapel.foundation.openapi import page
from lapel.foundation.slices import described

if TYPE_CHECKING:
    from lapel.foundation.openapi.schemas import Schema
    from lapel.foundation.slices import Services


class Description:
    """The document and its page, made at the first request, because most processes never need them."""

    def __init__(self, services: Services) -> None:
        self._services = services

    @cached_property
    def _document(self) -> Schema:
        return described(self._services)

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
