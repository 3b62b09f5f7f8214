"""How many attempts a worker makes at once: in all, for one world, and for one webhook.

A world gets at most half of the places that the others leave, and a webhook at most half of its world's. So
slow webhooks never take all places, however many of them there are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

# Attempts of one worker at once.
ALL = 2000
# Of these, of one webhook.
OF_WEBHOOK = 100
# So many places are given at once, or one to each webhook if these are more: a delivery that becomes due
# meanwhile waits for the next claim.
AT_ONCE = 256

WebhookKey = tuple[int, str]


class WebhookPlaces:
    """Counts the attempts of one worker."""

    def __init__(self, most: int = ALL, most_of_webhook: int = OF_WEBHOOK) -> None:
        self._free = most
        self._most_of_webhook = most_of_webhook
        self._of_world: Counter[int] = Counter()
        self._of_webhook: Counter[WebhookKey] = Counter()

    def take(self, webhook: WebhookKey) -> None:
        """Count an attempt: it runs, or is about to begin."""
        self._free -= 1
        self._of_world[webhook[0]] += 1
        self._of_webhook[webhook] += 1

    def give_back(self, webhook: WebhookKey) -> None:
        """Stop counting an attempt."""
        self._free += 1
        self._of_world[webhook[0]] -= 1
        self._of_webhook[webhook] -= 1
        # Only those with attempts are kept, so the counters stay small.
        if not self._of_webhook[webhook]:
            del self._of_webhook[webhook]
        if not self._of_world[webhook[0]]:
            del self._of_world[webhook[0]]

    def idle(self, webhook: WebhookKey) -> bool:
        """Whether no attempt of the webhook is counted."""
        return webhook not in self._of_webhook

    def rooms(self, webhooks: Sequence[WebhookKey]) -> list[tuple[int, str, int]]:
        """For each webhook that has room: its world, its id, and how many attempts may begin.

        All rooms together are no more than the free places, and than are given at once. They are shared
        evenly at first: over all webhooks, and over those of a world. A webhook that needs more gets more the
        next time.
        """
        if not webhooks:
            return []
        free, left = self._free, min(self._free, max(AT_ONCE, len(webhooks)))
        share = max(left // len(webhooks), 1)
        of_world, others = self._of_world.copy(), Counter(world_id for world_id, _ in webhooks)
        rooms: list[tuple[int, str, int]] = []
        for world_id, webhook_id in webhooks:
            if left <= 0:
                break
            own = self._of_webhook[world_id, webhook_id]
            left_to_world = _half(free, of_world[world_id])
            left_to_webhook = min(_half(left_to_world, own), self._most_of_webhook - own)
            room = min(share, left, max(left_to_world // others[world_id], 1), left_to_webhook)
            others[world_id] -= 1
            if room > 0:
                rooms.append((world_id, webhook_id, room))
                of_world[world_id] += room
                free -= room
                left -= room
        return rooms


def _half(free: int, own: int) -> int:
    """How much more a taker may get that has `own`: at most half of what it and nobody has, rounded up."""
    return (free + own + 1) // 2 - own
