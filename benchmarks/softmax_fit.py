"""Fits weights with which the right one of several candidates has the highest score.

The chance of a candidate is the softmax of the scores, among which is one for "none of them". The loss is the
logarithm of the chance of the right candidates together, with a small penalty for large weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

_STEPS, _RATE, _PENALTY = 200, 0.1, 1e-3


class Choice(msgspec.Struct, frozen=True):
    """The features of each candidate, one row each, and whether it is right. Perhaps none is."""

    rows: list[list[float]]
    right: list[bool]


class Fitted(msgspec.Struct, frozen=True):
    """The weight of each feature, and the score of "none of them"."""

    weights: list[float]
    none: float


def fitted(choices: Sequence[Choice]) -> Fitted:
    """The best weights, by gradient descent (Adam: Kingma and Ba, 2015) over standardized features."""
    used = [each for each in choices if each.rows]
    every = np.vstack([np.asarray(each.rows, float) for each in used])
    mean, spread = every.mean(axis=0), every.std(axis=0) + 1e-9
    sets = [
        ((np.asarray(each.rows, float) - mean) / spread, np.array([*each.right, not any(each.right)]))
        for each in used
    ]
    weights = np.zeros(every.shape[1] + 1)  # the last one is the score of "none"
    first, second = np.zeros_like(weights), np.zeros_like(weights)
    for step in range(1, _STEPS + 1):
        slope = _slope(sets, weights)
        first = 0.9 * first + 0.1 * slope
        second = 0.99 * second + 0.01 * slope**2
        weights -= _RATE * (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.99**step)) + 1e-8)
    own = weights[:-1] / spread
    return Fitted([float(each) for each in own], float(weights[-1] + mean @ own))


def _slope(sets: Sequence[tuple[NDArray[Any], NDArray[Any]]], weights: NDArray[Any]) -> NDArray[Any]:
    slope = np.zeros_like(weights)
    for rows, right in sets:
        scores = np.append(rows @ weights[:-1], weights[-1])
        chances = np.exp(scores - scores.max())
        chances /= chances.sum()
        wanted = chances * right
        change = chances - wanted / (wanted.sum() + 1e-12)
        slope[:-1] += rows.T @ change[:-1]
        slope[-1] += change[-1]
    slope /= len(sets)
    slope[:-1] += _PENALTY * weights[:-1]
    return slope
