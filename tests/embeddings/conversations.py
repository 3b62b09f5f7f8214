"""Passages, and questions that ask for them in other languages."""

from __future__ import annotations

PASSAGES = [
    "We agreed to release the first version of the app on the fifteenth of March.",
    "The dentist said that the wisdom tooth has to come out before the summer.",
    "Our marketing budget for the spring campaign is forty thousand dollars.",
    "My grandmother bakes her plum cake with a little cinnamon and no butter.",
    "The train to Hamburg was two hours late because of the snow.",
]
# Each asks in its own language for the passage in the same place.
QUESTIONS = [
    "Wann kommt die erste Version der App heraus?",
    "¿Qué dijo el dentista sobre la muela del juicio?",
    "Quel est le budget de la campagne de printemps ?",
    "おばあちゃんのプラムケーキには何が入っていますか",
    "为什么去汉堡的火车晚点了？",
]
