"""The textbook solution: FastAPI, SQLAlchemy's ORM on asyncpg, boto3.

Idiomatic, and nothing in it is slow on purpose: the boto3 client and the engine are made once, the pool is
as large as Lapel's, and one SELECT reads the media with its recording. Every request looks the key up in the
database; with BENCH_CACHED_KEY only the first one does, which favours this peer.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

import boto3
from botocore.config import Config
from fastapi import Depends, FastAPI, HTTPException
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel, Field
from sqlalchemy import BigInteger, ForeignKeyConstraint, LargeBinary, select
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, joinedload, mapped_column, relationship

engine = create_async_engine(
    os.environ["BENCH_DATABASE_URL"].replace("postgresql://", "postgresql+asyncpg://"),
    pool_size=10,
    max_overflow=0,
)
Session = async_sessionmaker(engine, expire_on_commit=False)
s3: Any = boto3.client(
    "s3",
    region_name="us-east-1",
    endpoint_url=os.environ["BENCH_STORE_URL"],
    aws_access_key_id=os.environ["BENCH_ACCESS_KEY"],
    aws_secret_access_key=os.environ["BENCH_SECRET_KEY"],
    config=Config(signature_version="s3v4", s3={"addressing_style": "path"}),
)
cached_keys: dict[str, int] | None = {} if os.environ.get("BENCH_CACHED_KEY") else None


class Base(DeclarativeBase):
    """The base class of the models."""


class ApiKey(Base):
    """A key, found by the hash of its token."""

    __tablename__ = "api_keys"
    world_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    id: Mapped[str] = mapped_column(primary_key=True)
    secret_hash: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    revoked_at: Mapped[datetime | None]
    expires_at: Mapped[datetime | None]


class Recording(Base):
    """A recording."""

    __tablename__ = "recordings"
    world_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    id: Mapped[str] = mapped_column(primary_key=True)
    end_user_id: Mapped[str]
    name: Mapped[str | None]
    status: Mapped[str]


class Media(Base):
    """A file of a recording."""

    __tablename__ = "media"
    __table_args__ = (
        ForeignKeyConstraint(["world_id", "recording_id"], ["recordings.world_id", "recordings.id"]),
    )
    world_id: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    recording_id: Mapped[str] = mapped_column(primary_key=True)
    id: Mapped[str] = mapped_column(primary_key=True)
    status: Mapped[str]
    content_type: Mapped[str]
    file_size_bytes: Mapped[int | None]
    object_key: Mapped[str | None]
    recording: Mapped[Recording] = relationship()


class DownloadRequest(BaseModel):
    """The body of a request."""

    media_id: str = Field(min_length=1, max_length=128)
    disposition: Literal["inline", "attachment"] = "inline"
    filename: str | None = Field(default=None, min_length=1, max_length=255)
    expires_in: int = Field(default=3600, ge=60, le=604_800)


class Download(BaseModel):
    """The body of an answer."""

    download_url: str
    media_id: str
    content_type: str
    file_size_bytes: int
    expires_at: datetime


app = FastAPI()
bearer = HTTPBearer()


async def session() -> AsyncIterator[AsyncSession]:
    """A session per request."""
    async with Session() as made:
        yield made


async def current_world(
    credentials: Annotated[HTTPAuthorizationCredentials, Depends(bearer)],
    db: Annotated[AsyncSession, Depends(session)],
) -> int:
    """The world of the key that calls."""
    token = credentials.credentials
    if cached_keys is not None and token in cached_keys:
        return cached_keys[token]
    digest = hashlib.sha256(token.encode()).digest()
    key = await db.scalar(select(ApiKey).where(ApiKey.secret_hash == digest, ApiKey.revoked_at.is_(None)))
    if key is None or (key.expires_at is not None and key.expires_at <= datetime.now(UTC)):
        raise HTTPException(401, "This key is unknown, revoked or expired.")
    if cached_keys is not None:
        cached_keys[token] = key.world_id
    return key.world_id


@app.post("/v1/recordings/{recording_id}/download-url")
async def download_url(
    recording_id: str,
    body: DownloadRequest,
    world_id: Annotated[int, Depends(current_world)],
    db: Annotated[AsyncSession, Depends(session)],
) -> Download:
    """A signed link to one media."""
    media = await db.scalar(
        select(Media)
        .options(joinedload(Media.recording))
        .where(Media.world_id == world_id, Media.recording_id == recording_id, Media.id == body.media_id)
    )
    if media is None:
        raise HTTPException(404, "There is no media with this id in a recording with this id.")
    if media.status != "uploaded":
        raise HTTPException(409, "This media is not uploaded.")
    name = body.filename or f"{media.recording.name or recording_id}.ogg"
    url = s3.generate_presigned_url(
        "get_object",
        Params={
            "Bucket": "lapel",
            "Key": media.object_key,
            "ResponseContentType": media.content_type,
            "ResponseContentDisposition": f'{body.disposition}; filename="{name}"',
        },
        ExpiresIn=body.expires_in,
    )
    return Download(
        download_url=url,
        media_id=media.id,
        content_type=media.content_type,
        file_size_bytes=media.file_size_bytes or 0,
        expires_at=datetime.now(UTC) + timedelta(seconds=body.expires_in),
    )
