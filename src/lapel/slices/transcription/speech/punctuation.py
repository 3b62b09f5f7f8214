"""The ends of sentences and of clauses, as Latin, Chinese, Japanese, Arabic and Devanagari text has them."""

from __future__ import annotations

import re
from typing import Final

# Each with the quotes and brackets that close after it.
SENTENCE_ENDS: Final = re.compile("[.!?…。！？؟।]['\"”’»)\\]]*$")
CLAUSE_ENDS: Final = re.compile("[,;:、，；：—–]['\"”’»)\\]]*$")
