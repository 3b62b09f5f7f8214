"""Room for the updates of a delivery beside it: a lease changes no indexed column, so it then touches no index."""

from lapel.foundation.database.migrations import script

revision = "0035"
down_revision = "0034"


def upgrade() -> None:
    # A delivery is written three times: made, leased, ended. The lease and the end take the half of the page
    # that is left free, so the table is not larger than without this.
    script("ALTER TABLE webhook_deliveries SET (fillfactor = 50)")
