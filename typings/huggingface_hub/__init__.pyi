from typing import Any, Literal, overload

from tqdm import tqdm

class DryRunFileInfo:
    file_size: int | None
    will_download: bool

@overload
def snapshot_download(
    repo_id: str,
    *,
    allow_patterns: list[str] | None = ...,
    local_files_only: bool = ...,
    tqdm_class: type[tqdm[Any]] | None = ...,
) -> str: ...
@overload
def snapshot_download(
    repo_id: str, *, allow_patterns: list[str] | None = ..., dry_run: Literal[True]
) -> list[DryRunFileInfo]: ...
