"""The slice of MCP, as data."""

from __future__ import annotations

from lapel.foundation.slices import Slice
from lapel.slices.mcp.mcp_app import mounts

SLICE = Slice(name="mcp", mounts=mounts)
