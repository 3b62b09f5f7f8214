"""`lapel search`: passages of an end user's transcripts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec
from cyclopts import Parameter
from cyclopts.validators import Number

from lapel.cli.shared.faults import CommandError
from lapel.cli.shared.installation import settings_of, with_ports
from lapel.cli.shared.options import DataDir, Json, emit, visible
from lapel.foundation.core.errors import NotFound, Unavailable

if TYPE_CHECKING:
    from lapel.foundation.ports import Ports
    from lapel.slices.search.service import FoundPassage

Query = Annotated[str, Parameter(help="A question, or some words.")]
EndUser = Annotated[str, Parameter(name="--end-user", help="Id of the end user, eu_….")]
Limit = Annotated[int, Parameter(help="At most so many passages.", validator=Number(gte=1, lte=50))]
_LONGEST = 1_000


class SearchedPassages(msgspec.Struct, frozen=True):
    """What `--json` prints. `by_meaning`: whether the embedding model was there."""

    by_meaning: bool
    results: list[FoundPassage]


def search(
    query: Query, /, *, end_user: EndUser, limit: Limit = 8, data_dir: DataDir = None, json: Json = False
) -> None:
    """Find passages in what an end user's recordings say, with the server running or stopped.

    Best first. Passages are found by their words and, if the embedding model is installed, by their meaning.

    For example:

        lapel search "When do we ship?" --end-user eu_…
        lapel search Kowalski --end-user eu_… --limit 3 --json
    """
    if not 1 <= len(query) <= _LONGEST:
        raise CommandError(f"a query has 1 to {_LONGEST:,} characters.")

    async def work(ports: Ports) -> SearchedPassages:
        from lapel import app  # noqa: PLC0415  # after the checks: it imports a lot
        from lapel.slices.embeddings.service import Embeddings  # noqa: PLC0415
        from lapel.slices.end_users.service import EndUsers  # noqa: PLC0415
        from lapel.slices.search.service import Search  # noqa: PLC0415

        services = app.open_services(ports)
        embeddings = services[Embeddings]
        try:
            reader = await services[EndUsers].reader_of(end_user)
            found = await services[Search].search(reader.world_id, end_user, query, limit=limit)
        except NotFound as fault:
            raise CommandError(f"there is no end user {visible(end_user)!r}.") from fault
        except Unavailable as fault:
            raise CommandError(f"the database does not answer: {fault.message}") from fault
        finally:
            await embeddings.aclose()
        return SearchedPassages(embeddings.model is not None, found)

    done = with_ports(settings_of(data_dir), work)
    emit(done, json, lambda: "\n\n".join(map(_shown, done.results)) or "Nothing was found.")


def _shown(found: FoundPassage) -> str:
    seconds = found.start_ms // 1000
    speaker = f"  {visible(found.speaker)}" if found.speaker else ""
    place = f"{found.recording_id}  {seconds // 60}:{seconds % 60:02}{speaker}"
    return f"{place}\n{visible(found.chunk_text)}"
