"""The policies of encrypted uploads."""

from __future__ import annotations

from typing import Literal

PolicyName = Literal["legacy_allowed", "v2_preferred", "v2_required"]
POLICY_CODES: dict[PolicyName, Literal[0, 1, 2]] = {"legacy_allowed": 0, "v2_preferred": 1, "v2_required": 2}


def refuses_legacy(policy: PolicyName) -> bool:
    """Does the policy refuse uploads that are not encrypted upload v2?"""
    return policy == "v2_required"
