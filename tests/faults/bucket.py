"""The whole bucket through boto3, a client that is independent of the code under test."""

from __future__ import annotations

import hashlib
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import boto3
from botocore.config import Config

from lapel.settings import Settings

READERS = 4


@contextmanager
def s3(settings: Settings) -> Generator[Any]:
    """A boto3 client of the settings' endpoint (boto3 makes its classes at run time: no type)."""
    client = boto3.client(
        "s3",
        endpoint_url=settings.s3_endpoint,
        region_name=settings.s3_region,
        aws_access_key_id=settings.s3_access_key_id,
        aws_secret_access_key=settings.s3_secret_access_key,
        config=Config(s3={"addressing_style": "path"}, max_pool_connections=READERS),
    )
    try:
        yield client
    finally:
        client.close()


def listing(settings: Settings) -> dict[str, int]:
    """Every object's name and size in bytes."""
    with s3(settings) as client:
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=settings.s3_bucket)
        return {found["Key"]: found["Size"] for page in pages for found in page.get("Contents", ())}


def hashes(settings: Settings, names: list[str]) -> dict[str, str]:
    """The SHA-256 (hexadecimal) of each of these objects."""
    with s3(settings) as client, ThreadPoolExecutor(READERS) as threads:

        def one(name: str) -> str:
            body = client.get_object(Bucket=settings.s3_bucket, Key=name)["Body"]
            with body:
                return hashlib.sha256(body.read()).hexdigest()

        return dict(zip(names, threads.map(one, names), strict=True))


def put(settings: Settings, name: str, content: bytes) -> None:
    """Write an object behind the API's back."""
    with s3(settings) as client:
        client.put_object(Bucket=settings.s3_bucket, Key=name, Body=content)


def delete(settings: Settings, name: str) -> None:
    """Remove an object behind the API's back."""
    with s3(settings) as client:
        client.delete_object(Bucket=settings.s3_bucket, Key=name)
