"""Read the JSON files of the set into structs, and name the file if one does not fit."""

from pathlib import Path
from typing import Final, TypeVar

import msgspec

FOLDER: Final = Path(__file__).parent

_Read = TypeVar("_Read")


class EvaluationSetInvalid(Exception):
    """A file of the set does not fit its struct. The message names file, place and reason."""


def read_file(path: Path, kind: type[_Read]) -> _Read:
    """The JSON file at `path`, decoded as `kind`.

    Unknown, missing and wrong fields raise EvaluationSetInvalid, and so does JSON that cannot be read.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:  # a ValidationError is a DecodeError
        raise EvaluationSetInvalid(f"{path.name}: {error}") from error
