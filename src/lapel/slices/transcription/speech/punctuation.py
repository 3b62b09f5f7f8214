"""The ends of sentences and of clauses in Latin, Chinese, Japanese, Arabic and Devanagari text."""

from __future__ import annotations

import re
from typing import Final

# Each pattern includes the closing quotes and brackets after the punctuation mark.
SENTENCE_ENDS: Final = re.compile("[.!?…。！？؟।]['\"”’»)\\]]*$")
CLAUSE_ENDS: Final = re.compile("[,;:、，；：—–]['\"”’»)\\]]*$")
