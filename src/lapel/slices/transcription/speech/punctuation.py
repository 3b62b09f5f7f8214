"""The ends of sentences and of clauses. Each pattern includes the quotes and brackets after the mark."""

from __future__ import annotations

import re
from typing import Final

from lapel.foundation.written_text import CLAUSE_MARKS, CLOSING_MARKS, SENTENCE_MARKS

SENTENCE_ENDS: Final = re.compile(f"[{SENTENCE_MARKS}][{CLOSING_MARKS}]*\\Z")
CLAUSE_ENDS: Final = re.compile(f"[{CLAUSE_MARKS}][{CLOSING_MARKS}]*\\Z")
