"""What the OpenAPI document says of content types is what the server takes."""

from __future__ import annotations

import httpx
import pytest
from jsonschema import Draft202012Validator


@pytest.mark.parametrize(
    ("content_type", "valid"),
    [("audio/vnd.wave", True), ("audio/vnd.wave;codecs=1", True), ("audio/vndQwave;codecs=1", False)],
)
async def test_the_document_allows_the_names_and_no_others(
    client: httpx.AsyncClient, content_type: str, valid: bool
) -> None:
    described = (await client.get("/v1/openapi.json")).json()
    schema = {"$ref": "#/components/schemas/StartUpload", "components": described["components"]}
    assert Draft202012Validator(schema).is_valid({"content_type": content_type}) is valid
