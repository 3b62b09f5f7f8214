"""Which profile an upload has, and which way it takes."""

from __future__ import annotations

from typing import Literal, NamedTuple

from lapel.slices.encrypted_uploads.documents.failures import Refused

Profile = Literal["legacy_plain_v1", "legacy_p10_relay", "encrypted_upload_v2"]
PolicyName = Literal["legacy_allowed", "v2_preferred", "v2_required"]
Route = Literal["presigned_s3", "upload_relay", "ciphertext_staging"]

ROUTES: dict[Profile, Route] = {
    "legacy_plain_v1": "presigned_s3",
    "legacy_p10_relay": "upload_relay",
    "encrypted_upload_v2": "ciphertext_staging",
}
POLICY_CODES: dict[PolicyName, Literal[0, 1, 2]] = {"legacy_allowed": 0, "v2_preferred": 1, "v2_required": 2}


class Choice(NamedTuple):
    """The profile of an upload, and the way of its bytes."""

    profile: Profile
    route: Route


def choose(
    requested: Profile, policy: PolicyName, *, capability_read: bool, capability_batch: bool
) -> Choice:
    """What an upload of the requested profile is under a policy.

    `capability_read` says whether the client read the device's capabilities, `capability_batch` whether they
    have the batch set. Raises Refused: `downgrade_prohibited` for a legacy profile where v2 is required,
    `mixed_profile` for v2 with a device that is not known to have it.
    """
    if requested != "encrypted_upload_v2" and refuses_legacy(policy):
        raise Refused("downgrade_prohibited", "This device uploads with encrypted upload v2 only.")
    if requested == "encrypted_upload_v2" and not (capability_read and capability_batch):
        raise Refused("mixed_profile", "The device is not known to have encrypted upload v2.")
    return Choice(requested, ROUTES[requested])


def refuses_legacy(policy: PolicyName) -> bool:
    """Does the policy refuse uploads that are not encrypted upload v2?"""
    return policy == "v2_required"
