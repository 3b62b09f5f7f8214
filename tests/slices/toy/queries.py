"""All SQL of toys."""

from __future__ import annotations

import msgspec

from lapel.foundation.core.actors import Mode

CREATE = """
CREATE TABLE toys (
    world_id bigint NOT NULL, id text COLLATE "C" NOT NULL, token_hash bytea NOT NULL UNIQUE,
    PRIMARY KEY (world_id, id))
"""
INSERT = "INSERT INTO toys (world_id, id, token_hash) VALUES ($1, $2, $3)"
FIND = "SELECT id FROM toys WHERE world_id = $1 AND id = $2"
FIND_TOKEN = """
SELECT t.world_id, t.id, w.project_id, w.mode FROM toys t JOIN worlds w ON w.id = t.world_id
WHERE t.token_hash = ANY($1::bytea[])
"""


class ToyHolderRow(msgspec.Struct, frozen=True):
    """A toy whose token this is."""

    world_id: int
    id: str
    project_id: str
    mode: Mode
