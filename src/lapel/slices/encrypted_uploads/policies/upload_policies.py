"""The policy that is in force for a device, with the configuration that it belongs to and a revision.

A device refuses a revision that is lower than one that it has seen, and another policy or configuration under
a revision that it has seen. So a revision stands for one content, and every change gets a higher one, also a
change back to what was in force before.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import msgspec

from lapel.slices.encrypted_uploads.documents import digests, profiles
from lapel.slices.encrypted_uploads.policies import policy_queries
from lapel.slices.encrypted_uploads.policies.policy_queries import PolicyRow
from lapel.slices.recordings.errors import EncryptedUploadV2Required

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lapel.foundation.database.connection import Connection
    from lapel.slices.configuration.service import Configuration, Document
    from lapel.slices.encrypted_uploads.documents.profiles import PolicyName


@dataclass(frozen=True, slots=True)
class DevicePolicy:
    """The policy that is in force for a device.

    `revision`: u64. `configuration`: the device's configuration, as `canonical` writes it.
    `configuration_sha256`: its digest, 32 bytes.
    """

    policy: PolicyName
    revision: int
    configuration: bytes
    configuration_sha256: bytes


# More revisions than any project has had between a backup and its restore.
_AFTER_RESTORE = 1 << 32


async def renew_revisions(connection: Connection) -> None:
    """Give each device a revision that it has not seen, after a restore. The caller is in a transaction.

    Devices may have seen revisions that were made after the backup. They refuse lower ones, and another
    content under the same one.
    """
    await policy_queries.raise_counters(connection, _AFTER_RESTORE)
    await policy_queries.forget_policies(connection)


class UploadPolicies:
    """The policies of devices."""

    def __init__(self, configuration: Configuration) -> None:
        self._configuration = configuration

    async def current(
        self,
        connection: Connection,
        world_id: int,
        project_id: str,
        device_id: str,
        end_user_id: str | None,
    ) -> DevicePolicy:
        """What is in force for a device that is bound to an end user. `project_id` is the world's project.

        The caller must be in a transaction. Until it ends, calls for the same device wait; if the policy or
        the configuration has changed since the last call, so do calls for other devices of the project for
        which these have changed. See `SigningKeys.active` for the order of calls.
        """
        await policy_queries.lock_policy(connection, world_id, device_id)
        told = await policy_queries.read_policy(connection, world_id, device_id)
        resolved = await self._configuration.resolved(connection, world_id, end_user_id, device_id)
        policy, snapshot = _policy_of(resolved["upload_security"]), canonical(resolved)
        digest = digests.configuration(snapshot)
        if told is None or (told.policy, told.configuration_sha256) != (policy, digest):
            revision = await policy_queries.next_policy_revision(connection, project_id)
            told = PolicyRow(policy, revision, digest)
            await policy_queries.put_policy(connection, world_id, device_id, told)
        return DevicePolicy(policy, told.revision, snapshot, digest)

    async def refuse_plain(
        self,
        connection: Connection,
        world_id: int,
        end_user_id: str,
        device_id: str | None,
        binding_generation: int | None,
    ) -> None:
        """For recordings: raises EncryptedUploadV2Required where `v2_required` is in force.

        The ids and the binding are those of the recording. If its device was not bound to the end user at the
        announcement, or if it has no device, the strictest policy counts of that device and of the end user's
        devices. Otherwise a client could leave the device out, or name one that nobody wears. A deleted
        device leaves the policy of the project.
        """
        if binding_generation is None:
            whose = "this project, of the recording's device, or of a device of its end user,"
            section = await self._configuration.strictest_section(
                connection, world_id, end_user_id, device_id, "upload_security"
            )
        else:
            whose = "this recording's device"
            section = await self._configuration.resolved_section(
                connection, world_id, None, device_id, "upload_security"
            )
        if profiles.refuses_legacy(_policy_of(section)):
            raise EncryptedUploadV2Required(
                f"The configuration of {whose} requires encrypted uploads: upload the recording with a "
                "session of encrypted upload v2. `encrypted_upload_policy` of `upload_security` decides this."
            )


def canonical(configuration: Mapping[str, Document]) -> bytes:
    """The one form of a configuration: JSON in UTF-8, keys in order of their code points, no white space.

    `configuration`: the value of every section, by its name. The same values have the same bytes.
    """
    return msgspec.json.encode(configuration, order="sorted")


def _policy_of(upload_security: Document) -> PolicyName:
    return cast("PolicyName", upload_security["encrypted_upload_policy"])
