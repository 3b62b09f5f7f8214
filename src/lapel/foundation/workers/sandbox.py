"""A process gives up its rights before it parses untrusted bytes.

A layer is one kind of restriction by the kernel, such as Landlock or seccomp. Each layer is optional: if the
kernel refuses a layer, the other layers hold and the work goes on. `lapel doctor` lists the layers that hold.
Systems other than Linux have no layers.

`python -m lapel.foundation.workers.sandbox` confines its own process and prints the layers. With the argument
`imported` it confines itself as strictly as a process that has imported all its code (`needs_code=False`),
such as the decoder.

Sources: landlock(7), seccomp(2), capabilities(7), network_namespaces(7) and user_namespaces(7) of the Linux
man-pages.
"""

from __future__ import annotations

import contextlib
import os
import site
import sys
import sysconfig
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import msgspec

from lapel.foundation.workers import kernel_calls

# This id is outside the ids that Debian, systemd and containers give out (61184 to 65519 are dynamic users,
# 65534 is nobody), and inside the 65,536 ids of a rootless container.
ACCOUNT = 65_531
_SYSTEM = (
    *("/usr", "/lib", "/lib64", "/etc/ld.so.cache", "/etc/localtime", "/proc/self", "/proc/cpuinfo"),
    *("/proc/meminfo", "/proc/stat", "/sys/devices/system/cpu", "/sys/fs/cgroup", "/dev/urandom"),
)
_DEVICES = ("/dev/null",)
# The capabilities of root that `confine` needs, and those to signal a confined child and to read its code.
RIGHTS_TO_CONFINE = (
    *(kernel_calls.SETUID, kernel_calls.SETGID, kernel_calls.SETPCAP, kernel_calls.SYS_ADMIN),
    *(kernel_calls.KILL, kernel_calls.DAC_OVERRIDE),
)


class Layer(msgspec.Struct, frozen=True):
    """One restriction: whether it holds, and if not, why."""

    name: str
    holds: bool
    why: str = ""


def confine(
    reads: Sequence[Path] = (),
    writes: Sequence[Path] = (),
    *,
    needs_code: bool = True,
    own_account: bool = True,
    serves: bool = False,
    still: Collection[str] = (),
) -> list[Layer]:
    """Gives up every right that this process does not need. Call it while there is only one thread.

    `reads`, `writes`: files and folders that the process opens later by name. Descriptors that are open
    already, or that come from the parent later, stay usable. `needs_code`: the process still imports modules.
    `own_account`: root becomes another user; if that user could not read a path that is needed, the process
    stays uid 0 without capabilities. `serves`: the process answers on a socket that it already has, and opens
    no other socket. `still`: calls that the process needs once more, such as `bind`; it refuses them itself
    afterwards (`kernel_calls.refuse_calls`, which holds for all threads).
    """
    if sys.platform != "linux":
        return [Layer("sandbox", holds=False, why=f"there is none on {sys.platform}")]
    # Missing paths are left out, because a missing path must not prevent the change of account.
    there = [each for each in reads if os.path.exists(each)]  # noqa: PTH110 - Path's raises for some folders
    needed = [*there, *_inside(there), *(code_folders() if needs_code else ())]
    root = os.geteuid() == 0
    barred = _barred(ACCOUNT, needed) if own_account and root else None
    layers = [
        _layer("no new privileges", kernel_calls.forbid_new_privileges),
        _layer("no network (namespace)", _leave_network),
    ]
    opened = [*needed, *map(Path, _SYSTEM if needs_code else ())]
    written = [*writes, *map(Path, _DEVICES)]
    layers.append(_layer("no other files (Landlock)", lambda: kernel_calls.landlock(opened, written)))
    # A process that stays root may find files of another account in `writes`.
    kept = (kernel_calls.DAC_OVERRIDE,) if root and not own_account else ()
    if root:
        layers.append(
            _layer("no capabilities ever (bounding set)", lambda: kernel_calls.shrink_bounding_set(kept))
        )
    if own_account and root:
        layers.append(_own_account(barred))
    layers.append(_layer("no capabilities", lambda: kernel_calls.drop_capabilities(kept)))
    layers.append(_layer("not readable by others", kernel_calls.forbid_looking_in))
    # The event loop already has an io_uring; the layers of network and Landlock restrict it as well.
    refused = kernel_calls.denied(but={*still, *({"listen", "io_uring_enter"} if serves else ())})
    layers.append(_layer("no sockets, no programs (seccomp)", lambda: kernel_calls.refuse_calls(refused)))
    return layers


def give_up_rights(kept: Collection[int] = (kernel_calls.DAC_OVERRIDE,)) -> list[Layer]:
    """Gives up all of root's rights except `kept`, by default the right to open files of other accounts.

    The process may still use the network and open files.
    """
    if sys.platform != "linux":
        return [Layer("rights", holds=False, why=f"nothing is known of {sys.platform}")]
    layers = [_layer("no new privileges", kernel_calls.forbid_new_privileges)]
    if os.geteuid() == 0:
        layers.append(
            _layer("no capabilities ever (bounding set)", lambda: kernel_calls.shrink_bounding_set(kept))
        )
        layers.append(_layer("no capabilities", lambda: kernel_calls.drop_capabilities(kept)))
    return layers


def code_folders() -> list[Path]:
    """The folders of Python and of the modules that it imports."""
    found = [sys.prefix, sys.base_prefix, sys.exec_prefix, *sys.path, *site.getsitepackages()]
    found += [sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"), str(Path(__file__).parents[3])]
    there = {Path(each).resolve() for each in found if each and os.path.exists(each)}  # noqa: PTH110
    return sorted(there - {Path("/")})


def _inside(folders: Sequence[Path]) -> list[Path]:
    """The entries of these folders, with links resolved (a cache of models has links). Landlock checks the
    files themselves, and an account may lack the right to read a file of a folder that it may enter."""
    found: list[str] = []
    for folder in folders:
        with contextlib.suppress(OSError):  # a file, or a folder that we may not list
            found += [os.path.realpath(each) for each in os.scandir(folder)]
    return [Path(each) for each in found if os.path.exists(each)]  # noqa: PTH110


def _layer(name: str, take: Callable[[], None]) -> Layer:
    try:
        take()
    except OSError as error:
        return Layer(name, holds=False, why=error.strerror or str(error))
    return Layer(name, holds=True)


def _leave_network() -> None:
    """Enter an empty network namespace.

    Root may do so directly; others need a user namespace, in which they keep their id.
    """
    uid, gid = os.geteuid(), os.getegid()
    if uid == 0:
        kernel_calls.unshare(kernel_calls.CLONE_NEWNET)
        return
    kernel_calls.unshare(kernel_calls.CLONE_NEWUSER | kernel_calls.CLONE_NEWNET)
    Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1")
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1")


def _own_account(barred: str | None) -> Layer:
    name = f"own account ({ACCOUNT})"
    if barred is not None:
        return Layer(name, holds=False, why=barred)

    def take() -> None:
        os.setgroups([])
        os.setresgid(ACCOUNT, ACCOUNT, ACCOUNT)
        os.setresuid(ACCOUNT, ACCOUNT, ACCOUNT)

    return _layer(name, take)


def _barred(uid: int, needed: Sequence[Path]) -> str | None:
    """Why this process cannot become `uid`, or None; it switches to this account briefly to find out."""
    groups, gid, own = os.getgroups(), os.getegid(), os.geteuid()
    with contextlib.ExitStack() as back:
        try:
            os.setgroups([])
            back.callback(os.setgroups, groups)
            os.setegid(uid)
            back.callback(os.setegid, gid)
            os.seteuid(uid)
            back.callback(os.seteuid, own)
        except OSError:  # it has no place in our user namespace, or we may not
            if not all(map(kernel_calls.is_held, (kernel_calls.SETUID, kernel_calls.SETGID))):
                return "root may not change its account here: give it CAP_SETUID and CAP_SETGID"
            return "the account does not exist in this user namespace"
        bar = next((_bar(path) for path in needed if not _may_read(path)), None)
        if bar is None:
            return None
        return (
            f"it may not enter or read {bar}: install Lapel elsewhere, such as in /opt, or `chmod o+rX {bar}`"
        )


def _bar(path: Path) -> Path:
    """The outermost folder that keeps this account from the path."""
    for folder in reversed(path.parents):
        if not os.access(folder, os.X_OK, effective_ids=True):
            return folder
    return path


def _may_read(path: Path) -> bool:
    try:
        mode = os.R_OK | (os.X_OK if path.is_dir() else 0)
    except PermissionError:
        return False
    return os.access(path, mode, effective_ids=True)


if __name__ == "__main__":
    sys.stdout.buffer.write(msgspec.json.encode(confine(needs_code="imported" not in sys.argv)))
