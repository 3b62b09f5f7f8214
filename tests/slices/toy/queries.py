"""All SQL of toys."""

from __future__ import annotations

from lapel.foundation.identity.token_kinds import TOKENS

CREATE = """
CREATE TABLE toys (
    world_id bigint NOT NULL, id text COLLATE "C" NOT NULL, token_hash bytea NOT NULL UNIQUE,
    PRIMARY KEY (world_id, id))
"""
INSERT = "INSERT INTO toys (world_id, id, token_hash) VALUES ($1, $2, $3)"
FIND = "SELECT id FROM toys WHERE world_id = $1 AND id = $2"
FIND_TOKEN = f"""
SELECT asked.place, t.world_id, t.id, w.project_id, w.mode
FROM {TOKENS} JOIN toys t ON t.token_hash = asked.token_hash JOIN worlds w ON w.id = t.world_id
"""
