"""Groups voices by person: agglomerative clustering, average linkage (UPGMA) on cosine distance.

scipy joins near rows within chunks, because its memory grows with the square of the number of rows. Then this
module joins the remaining clusters of all chunks, and continues exactly where scipy stopped. For this, the
sum and the number of a cluster's rows suffice: if rows have length 1, the mean cosine between two clusters is
the dot product of their mean vectors.

Source of the update of distances after a join: Lance and Williams, "A General Theory of Classificatory
Sorting Strategies: 1. Hierarchical Systems", The Computer Journal 9(4), 1967 (group average).
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.cluster.hierarchy import linkage
from scipy.spatial.distance import pdist

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Vectors = NDArray[np.float32]
    Labels = NDArray[np.intp]

# Largest mean cosine distance at which two clusters are one person. Measured on synthetic and real voices:
# 0.25 to 0.35 within one voice, up to 0.5 when the manner of speaking or the room changes; 0.65 to 0.85
# between two voices.
THRESHOLD: Final = 0.58
# Rows that are at most this far apart are certainly one voice. They are joined within a chunk, before other
# chunks are known.
_CERTAIN: Final = 0.3
# Windows in a chunk: 19 minutes of speech; their distances take 9 MB.
CHUNK: Final = 1_500
# Clusters that may remain of all chunks together: their distances take 16 MB.
_LEFT: Final = 2_000
# Most speakers unless the caller asks for more: a larger number is more likely noise.
_CROWD: Final = 50
# If fewer rows than this are telling (see `cluster`), all rows count as telling.
_FEW: Final = 6
_NOBODY: Final = -1


def cluster(
    embeddings: Vectors,
    telling: NDArray[np.bool_] | None = None,
    *,
    num_speakers: int | None = None,
    min_speakers: int = 1,
    max_speakers: int | None = None,
) -> list[int]:
    """The speaker of each row: 0, 1, … in order of appearance.

    `embeddings`: float32, n x 192, rows of length 1. `telling`: bool, n; whether a row may found a speaker.
    Other rows only join a speaker. But if too few rows are telling, all rows may found a speaker. If there
    are at least `num_speakers` rows, there are exactly `num_speakers` speakers. `num_speakers` overrides
    `min_speakers` and `max_speakers`, and `max_speakers` overrides `min_speakers`. A cluster with almost no
    rows is noise, unless it is needed for the requested number. The same rows give the same result.
    """
    count = len(embeddings)
    if count == 0:
        return []
    most = max(1, min(num_speakers or max_speakers or _CROWD, count))
    least = max(1, min(num_speakers or min_speakers, most))
    chosen = np.arange(count) if telling is None else np.flatnonzero(telling)
    if len(chosen) < max(least, _FEW):
        chosen = np.arange(count)
    labels = np.full(count, _NOBODY, np.intp)
    labels[chosen] = _speakers(embeddings[chosen], least, most)
    return _in_order(_with_strays(embeddings, labels))


def _speakers(embeddings: Vectors, least: int, most: int) -> Labels:
    """The cluster of each row; _NOBODY for rows of clusters that are too small for a speaker."""
    leaves = _leaves(embeddings, least)
    tree = _Tree.grown(embeddings, leaves)
    labels, enough = _cut(tree, leaves, _tiny(len(embeddings)), least, most)
    return np.where(np.bincount(labels)[labels] >= enough, labels, _NOBODY)


def _tiny(count: int) -> int:
    """Fewest rows of a speaker, out of `count` rows: about 20 seconds for three hours of speech."""
    return max(2, min(3, count // 4), count // 500)


def _leaves(embeddings: Vectors, least: int) -> Labels:
    """The number of each row's cluster after the certain joins within each chunk.

    If a chunk would leave too many clusters (`_LEFT` for all chunks together), more of its rows are joined.
    """
    count = len(embeddings)
    chunks = -(-count // CHUNK)
    cap = max(8, _LEFT // chunks, least)
    found = np.zeros(count, np.intp)
    used = 0
    for part in np.array_split(np.arange(count), chunks):
        if len(part) > 1:
            distances = pdist(embeddings[part].astype(np.float64), "cosine")
            joins = linkage(np.nan_to_num(distances, nan=1.0), "average")  # a row of zeros is like no other
            certain = int(np.searchsorted(joins[:, 2], _CERTAIN, "right"))
            steps = max(min(certain, len(part) - least), len(part) - cap, 0)
            found[part] = used + _joined(len(part), joins[:steps, :2].astype(np.intp))
        else:
            found[part] = used
        used = int(found[part].max()) + 1
    return found


def _joined(count: int, joins: NDArray[np.intp]) -> Labels:
    """Labels 0, 1, … of `count` items after these joins. Join i makes item `count + i`, as in scipy."""
    owner = np.arange(count + len(joins))
    for index, pair in enumerate(joins):
        owner[pair] = count + index
    # From the last to the first: an item made later owns the items made before.
    for index in range(len(owner) - 1, -1, -1):
        owner[index] = owner[owner[index]]
    return np.unique(owner[:count], return_inverse=True)[1]


def _sums(embeddings: Vectors, labels: Labels) -> NDArray[np.float64]:
    """The sum of the rows of each label 0, 1, …: float64, labels x 192."""
    order = np.argsort(labels, kind="stable")
    firsts = np.flatnonzero(np.diff(labels[order], prepend=-1))
    return np.add.reduceat(embeddings[order], firsts, axis=0, dtype=np.float64)


@dataclasses.dataclass(frozen=True, slots=True)
class _Tree:
    """The joins that make one cluster of all leaves. `joins`: as in `_joined`. `heights`: the mean distance
    at each join. `sizes`: the number of rows of each leaf."""

    joins: NDArray[np.intp]
    heights: NDArray[np.float32]
    sizes: NDArray[np.intp]

    @classmethod
    def grown(cls, embeddings: Vectors, leaves: Labels) -> _Tree:
        """Average linkage of the leaves, up to the last join."""
        sizes = np.bincount(leaves)
        count = len(sizes)
        means = (_sums(embeddings, leaves) / sizes[:, None]).astype(np.float32)
        apart = 1 - means @ means.T
        np.fill_diagonal(apart, np.inf)
        nearest = apart.argmin(axis=1)
        distance = apart[np.arange(count), nearest]
        names, weight = np.arange(count), sizes.astype(np.float32)
        joins, heights = np.empty((count - 1, 2), np.intp), np.empty(count - 1, np.float32)
        for step in range(count - 1):
            left = int(distance.argmin())
            right = int(nearest[left])
            joins[step], heights[step] = (names[left], names[right]), distance[left]
            names[left] = count + step
            total = weight[left] + weight[right]
            row = (weight[left] * apart[left] + weight[right] * apart[right]) / total
            weight[left] = total
            row[[left, right]] = np.inf
            apart[left], apart[:, left] = row, row
            apart[right], apart[:, right] = np.inf, np.inf
            distance[right] = np.inf
            # Clusters whose nearest cluster was one of the two search again. To other clusters, the new
            # cluster may be nearer than the nearest one before.
            again = np.flatnonzero(((nearest == left) | (nearest == right)) & np.isfinite(distance))
            nearest[again] = apart[again].argmin(axis=1)
            distance[again] = apart[again, nearest[again]]
            closer = np.flatnonzero(row < distance)
            nearest[closer], distance[closer] = left, row[closer]
            nearest[left] = int(row.argmin())
            distance[left] = row[nearest[left]]
        return cls(joins, heights, sizes)

    def substantial(self, tiny: int) -> list[int]:
        """How many clusters have at least `tiny` rows, after 0, 1, … joins."""
        sizes = [*self.sizes.tolist()]
        counts = [sum(size >= tiny for size in sizes)]
        for left, right in self.joins.tolist():
            sizes.append(sizes[left] + sizes[right])
            change = (sizes[-1] >= tiny) - (sizes[left] >= tiny) - (sizes[right] >= tiny)
            counts.append(counts[-1] + change)
        return counts


def _cut(tree: _Tree, leaves: Labels, tiny: int, least: int, most: int) -> tuple[Labels, int]:
    """Labels of the rows, and the fewest rows of a speaker."""
    counts = tree.substantial(tiny)
    steps = int(np.searchsorted(tree.heights, THRESHOLD, "right"))
    wanted = min(max(counts[steps], least), most)
    if wanted != counts[steps]:
        # Undoing one join adds at most one such cluster. So the first cut with at least `wanted` of them has
        # exactly `wanted`.
        fitting = (step for step in range(len(counts) - 1, -1, -1) if counts[step] == wanted)
        found = next(fitting, None)
        if found is None:  # the number needs clusters that would otherwise be noise
            steps, tiny = len(tree.sizes) - wanted, 1
        else:
            steps = found
    return _joined(len(tree.sizes), tree.joins[:steps])[leaves], tiny


def _with_strays(embeddings: Vectors, labels: Labels) -> Labels:
    """Rows labelled _NOBODY get the speaker whose mean is nearest. Without speakers, all rows become one
    speaker."""
    speakers, members = np.unique(labels[labels != _NOBODY], return_inverse=True)
    if len(speakers) == 0:
        return np.zeros_like(labels)
    centres = _sums(embeddings[labels != _NOBODY], members)
    centres /= np.maximum(np.linalg.norm(centres, axis=1, keepdims=True), np.finfo(np.float64).tiny)
    strays = np.flatnonzero(labels == _NOBODY)
    moved = labels.copy()
    moved[strays] = speakers[(embeddings[strays] @ centres.T).argmax(axis=1)]
    return moved


def _in_order(labels: Labels) -> list[int]:
    """The labels renumbered in order of appearance: 0 for the first row."""
    numbers: dict[int, int] = {}
    return [numbers.setdefault(label, len(numbers)) for label in labels.tolist()]
