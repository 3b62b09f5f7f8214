"""Erases again what a restored backup has brought back."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import msgspec

from lapel.app import open_services
from lapel.cli.erase.eraser import Eraser
from lapel.foundation.core.clock import timestamp
from lapel.foundation.core.errors import NotFound
from lapel.slices.end_users.end_user_holds import EndUserHolds
from lapel.slices.end_users.service import EndUsers
from lapel.slices.erasure.outside import ledger_line_queries
from lapel.slices.erasure.service import RECONCILE, Erasures, knows_hold
from lapel.slices.projects.revocations.service import KeyRevocations
from lapel.slices.recordings.service import Recordings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from lapel.foundation.ports import Ports
    from lapel.slices.erasure.outside.hold_lines import HeldResource
    from lapel.slices.erasure.outside.ledger_lines import ErasedResource
    from lapel.slices.erasure.wire import State, Subject
    from lapel.slices.projects.revocations.revocation_lines import End, RevocationLine


_ENDED: dict[End, str] = {
    "revoked": "it was revoked",
    "retired": "its overlap after a rotation ended or ends",
    "issued-revoked": "the tokens that it issued were revoked, and its webhooks disabled",
}


class Reconciled(msgspec.Struct):
    """What `--json` prints: numbers of lines in the ledger, and of resources that the database had again.

    `keys`: API keys that worked again, or whose tokens did, and that were ended again. `newer_keys`: keys in
    the ledger that the database lacks. `holds`: legal holds that the database had lost, and that were placed
    again. `audio`: audio that had been erased while its recording stayed. `erased`: their objects are gone.
    `held`: a legal hold keeps them. `open`: a worker or a further run must continue, because objects remain.
    `hidden`: resources that were deleted before this run, and that a legal hold keeps; of an end user,
    perhaps only recordings. With `--dry-run`, `erased`, `held` and `open` are not counted.
    """

    lines: int = 0
    holds: int = 0
    recordings: int = 0
    end_users: int = 0
    audio: int = 0
    erased: int = 0
    held: int = 0
    open: int = 0
    hidden: int = 0
    keys: int = 0
    newer_keys: int = 0


async def end_keys_again(
    ports: Ports,
    pages: AsyncIterator[list[RevocationLine]],
    say: Callable[[str], None],
    *,
    dry_run: bool = False,
) -> tuple[int, int]:
    """End the keys that a restored database has brought back. `say` is called with a line for each of them,
    and for each key that ended and that the database lacks.

    Returns the number of these keys, and of keys that ended and that the database lacks. Raises
    StoreUnavailable while the store is unavailable, and Unavailable while the database is.
    """
    revocations = open_services(ports)[KeyRevocations]
    back, newer = set[str](), set[str]()
    async for page in pages:
        for line in page:
            match await revocations.end_again(line, dry_run=dry_run):
                case "back":
                    back.add(line.key_id)
                    say(f"key {line.key_id} worked again: {_ENDED[line.end]} at {timestamp(line.at)}")
                case "newer":
                    if line.key_id not in newer:
                        end = f"{_ENDED[line.end]} at {timestamp(line.at)}"
                        say(f"key {line.key_id} is newer than this database: {end}")
                    newer.add(line.key_id)
                case "known":
                    pass
    if not dry_run:
        await ports.revocations.announce(sorted(back))
    return len(back), len(newer)


class Reconciliation:
    """One run. `say` is called with a line for each resource that the database has again."""

    def __init__(self, ports: Ports, say: Callable[[str], None], *, dry_run: bool) -> None:
        services = open_services(ports)
        self._ports = ports
        self._say = say
        self._dry_run = dry_run
        self._erasures = services[Erasures]
        self._eraser = Eraser(services, RECONCILE)
        self._end_users = services[EndUsers]
        self._end_user_holds = services[EndUserHolds]
        self._recordings = services[Recordings]
        self._deletion = self._recordings.deletion
        self._worlds: dict[tuple[str, str], int | None] = {}
        self._report = Reconciled()

    async def run(
        self,
        ends: AsyncIterator[list[RevocationLine]],
        holds: AsyncIterator[list[HeldResource]],
        pages: AsyncIterator[list[ErasedResource]],
    ) -> Reconciled:
        """End every key that works again, place lost holds again, then erase again what is back.

        A page is in memory at a time. A repeat does only what is left. Raises StoreUnavailable while the
        store is unavailable, and Unavailable while the database is.
        """
        ended = await end_keys_again(self._ports, ends, self._say, dry_run=self._dry_run)
        self._report.keys, self._report.newer_keys = ended
        async for held in holds:
            for each in held:
                await self._place_again(each)
        async for page in pages:
            self._report.lines += len(page)
            worlds = {(each.project_id, each.mode) for each in page}
            for project_id, mode in sorted(worlds):
                world_id = await self._world(project_id, mode)
                if world_id is not None:
                    own = [each for each in page if (each.project_id, each.mode) == (project_id, mode)]
                    await self._of_world(world_id, own)
        return self._report

    async def _place_again(self, hold: HeldResource) -> None:
        world_id = await self._world(hold.project_id, hold.mode)
        if world_id is None:
            return
        if hold.resource_type == "recording":
            present, place = self._deletion.find_present, self._recordings.holds.place_again
        else:
            present, place = self._end_users.find_present, self._end_user_holds.place_again
        if self._dry_run:
            is_lost = bool(await present(world_id, [hold.resource_id])) and not await self._is_known(
                world_id, hold
            )
        else:
            is_lost = await place(world_id, hold.resource_id, hold.id)
        if is_lost:
            self._report.holds += 1
            self._say(f"the legal hold {hold.id} on {hold.resource_id} was lost")

    async def _is_known(self, world_id: int, hold: HeldResource) -> bool:
        async with self._ports.database.acquire() as connection:
            return await knows_hold(connection, world_id, hold.id, hold.resource_id)

    async def _world(self, project_id: str, mode: str) -> int | None:
        if (project_id, mode) not in self._worlds:
            async with self._ports.database.acquire() as connection:
                found = await ledger_line_queries.find_world(connection, project_id, mode)
            self._worlds[project_id, mode] = found
        return self._worlds[project_id, mode]

    async def _of_world(self, world_id: int, lines: list[ErasedResource]) -> None:
        people = sorted({each.resource_id for each in lines if each.resource_type == "end_user"})
        recordings = sorted({each.resource_id for each in lines if each.resource_type == "recording"})
        await self._name_hidden(world_id, "end_user", people)
        await self._name_hidden(world_id, "recording", recordings)
        for end_user_id in await self._end_users.find_present(world_id, people):
            self._report.end_users += 1
            self._say(f"end user {end_user_id} is back")
            if not self._dry_run:
                await self._erase_end_user(world_id, end_user_id)
        # A recording of a deleted end user is not found here: it goes with the end user.
        for recording_id in await self._deletion.find_present(world_id, recordings):
            self._report.recordings += 1
            self._say(f"recording {recording_id} is back")
            if not self._dry_run:
                await self._erase_recording(world_id, recording_id)
        audio = {
            (each.recording_id or "", each.resource_id) for each in lines if each.resource_type == "media"
        }
        for recording_id, media_id in await self._deletion.find_present_audio(world_id, sorted(audio)):
            self._report.audio += 1
            self._say(f"audio {media_id} of recording {recording_id} is back")
            if not self._dry_run:
                await self._erase_audio(world_id, media_id, recording_id)

    async def _name_hidden(self, world_id: int, resource_type: Subject, ids: list[str]) -> None:
        """What the backup had hidden under a hold that was released later is neither back nor erased."""
        async with self._ports.database.acquire() as connection:
            held = await ledger_line_queries.find_held(connection, world_id, resource_type, ids)
        of = "recording {}" if resource_type == "recording" else "end user {}, or recordings of it"
        for resource_id in held:
            self._report.hidden += 1
            self._say(
                f"a legal hold keeps the deleted {of.format(resource_id)}: hidden, and erased when you "
                "release the hold"
            )

    async def _erase_end_user(self, world_id: int, end_user_id: str) -> None:
        with contextlib.suppress(NotFound):  # another run was faster
            self._count(end_user_id, await self._eraser.end_user(world_id, end_user_id))

    async def _erase_recording(self, world_id: int, recording_id: str) -> None:
        with contextlib.suppress(NotFound):
            self._count(recording_id, await self._eraser.recording(world_id, recording_id))

    async def _erase_audio(self, world_id: int, media_id: str, recording_id: str) -> None:
        try:
            erased = await self._deletion.erase_audio(world_id, recording_id, RECONCILE)
        except NotFound:
            return
        if erased:
            await self._erasures.erase_at_once(world_id, "media", media_id)
            self._count(media_id, await self._erasures.state_of(world_id, "media", media_id))
        else:  # no entry: while a hold keeps an audio, its recording shows it
            self._report.held += 1
            self._say(f"a legal hold keeps {media_id}: repeat the command after you release the hold")

    def _count(self, resource_id: str, state: State | None) -> None:
        match state:
            case "erased" | "closed":
                self._report.erased += 1
            case "held":
                self._report.held += 1
                self._say(
                    f"a legal hold keeps {resource_id}: it is hidden, and erased when you release the hold"
                )
            case _:
                self._report.open += 1
