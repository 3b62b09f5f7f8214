"""The slice of summaries, as data."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lapel.foundation.slices import Slice, Table
from lapel.slices.configuration.service import Configuration
from lapel.slices.summaries import jobs, routes
from lapel.slices.summaries.events import SAMPLES
from lapel.slices.summaries.service import Summaries
from lapel.slices.summaries.templates.service import SummaryTemplates

if TYPE_CHECKING:
    from lapel.foundation.queue.jobs import Job, Schedule
    from lapel.foundation.slices import Services
    from lapel.slices.summaries.work.summary_runner import SummaryRunner

# Only a worker process needs the runner and the modules that the runner imports.


def _worker(services: Services) -> tuple[SummaryRunner]:
    from lapel.slices.embeddings.service import Embeddings  # noqa: PLC0415
    from lapel.slices.language_models.service import LanguageModels  # noqa: PLC0415
    from lapel.slices.summaries.work.summary_runner import SummaryRunner  # noqa: PLC0415

    models, embeddings = services[LanguageModels], services[Embeddings]
    return (SummaryRunner(services.ports, models, embeddings, services[Configuration]),)


def _jobs(services: Services) -> tuple[Job, ...]:
    from lapel.slices.summaries.work.summary_runner import SummaryRunner  # noqa: PLC0415

    return jobs.handlers(services[SummaryRunner])


def _schedules(services: Services) -> tuple[Schedule, ...]:
    from lapel.slices.summaries.work.summary_runner import SummaryRunner  # noqa: PLC0415

    return jobs.schedules(services[SummaryRunner])


SLICE = Slice(
    name="summaries",
    build=lambda services: (
        Summaries(services.ports, services[Configuration]),
        SummaryTemplates(services.ports),
    ),
    operations=lambda services: routes.operations(services[Summaries], services[SummaryTemplates]),
    worker=_worker,
    jobs=_jobs,
    schedules=_schedules,
    scopes=("summaries:read", "summaries:write"),
    ids={"summary_id": "sum", "template_id": "tmpl"},
    lanes=(jobs.LANE,),
    tables=(
        Table("summaries", grows=True),
        Table("summary_parts"),  # what the model wrote about parts, until the summary has ended
        Table("summary_templates", grows=True),
        Table("summary_template_versions", grows=True),
        Table("summary_turns"),  # one row per world
        Table("summary_work"),  # the work on a summary, until it is done
    ),
    events=SAMPLES,
    crash_points=(
        "summary:claimed",
        "summary:part",
        "summary:written",
        "summary:before-commit",
        "summary:committed",
    ),
)
