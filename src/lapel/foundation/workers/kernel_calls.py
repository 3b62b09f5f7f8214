"""The system calls with which this process gives up rights, and which Python does not wrap. Linux only.

Every function raises OSError when the kernel refuses. Most change the calling thread and everything that it
starts; `forbid_looking_in` and `refuse_calls` change the whole process.

Sources: prctl(2), capset(2), unshare(2), landlock(7) and seccomp(2) of the Linux man-pages.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
from collections.abc import Collection, Sequence
from pathlib import Path

# Capabilities: to give files away, to open files in spite of their modes, to signal processes of other
# accounts, to change the account, to drop capabilities from the bounding set, and (among much else) to make
# namespaces.
CHOWN, DAC_OVERRIDE, KILL, SETGID, SETUID, SETPCAP, SYS_ADMIN = 0, 1, 5, 6, 7, 8, 21
CLONE_NEWUSER, CLONE_NEWNET = 0x1000_0000, 0x4000_0000

_SET_DUMPABLE, _CAPBSET_READ, _CAPBSET_DROP, _SET_NO_NEW_PRIVS, _CAP_AMBIENT = 4, 23, 24, 38, 47
_AMBIENT_CLEAR_ALL = 4
_HEADER = struct.pack("=Ii", 0x2008_0522, 0)  # the version of capget and capset, and this process

# Constants of linux/landlock.h. `_FS_RIGHTS`: rights on files, by the ABI version that introduced them.
_READING = 0b1101  # execute, read_file, read_dir
_FS_RIGHTS = {1: (1 << 13) - 1, 2: 1 << 13, 3: 1 << 14, 5: 1 << 15}
_OF_FILES = 0b0111 | 1 << 14 | 1 << 15  # execute, write, read, truncate, ioctl: the others are of folders
_NET_RIGHTS, _SCOPES = 0b11, 0b11  # bind and connect TCP; abstract sockets and signals of others
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446

# Calls that a process never needs if it only computes: for sockets and their substitutes, other processes,
# mounts, and the kernel itself.
_COMMON = {
    "io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427, "open_tree": 428,
    "move_mount": 429, "fsopen": 430, "fsmount": 432, "pidfd_getfd": 438, "mount_setattr": 442,
}  # fmt: skip
_DENIED = {
    "x86_64": {
        "socket": 41, "connect": 42, "bind": 49, "listen": 50, "execve": 59, "ptrace": 101, "pivot_root": 155,
        "chroot": 161, "mount": 165, "umount2": 166, "init_module": 175, "delete_module": 176,
        "kexec_load": 246, "add_key": 248, "request_key": 249, "keyctl": 250, "unshare": 272,
        "perf_event_open": 298, "open_by_handle_at": 304, "setns": 308, "process_vm_readv": 310,
        "process_vm_writev": 311, "finit_module": 313, "kexec_file_load": 320, "bpf": 321, "execveat": 322,
        "userfaultfd": 323,
    },
    "aarch64": {
        "umount2": 39, "mount": 40, "pivot_root": 41, "chroot": 51, "unshare": 97, "kexec_load": 104,
        "init_module": 105, "delete_module": 106, "ptrace": 117, "socket": 198, "bind": 200, "listen": 201,
        "connect": 203, "add_key": 217, "request_key": 218, "keyctl": 219, "execve": 221,
        "perf_event_open": 241, "open_by_handle_at": 265, "setns": 268, "process_vm_readv": 270,
        "process_vm_writev": 271, "finit_module": 273, "bpf": 280, "execveat": 281, "userfaultfd": 282,
        "kexec_file_load": 294,
    },
}  # fmt: skip
_AUDIT_ARCH = {"x86_64": 0xC000_003E, "aarch64": 0xC000_00B7}
_SECCOMP = {"x86_64": 317, "aarch64": 277}
_X32 = 0x4000_0000
_EPERM, _ALLOW, _ERRNO = 1, 0x7FFF_0000, 0x0005_0000


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _syscall(number: int, *arguments: object) -> int:
    plain = [ctypes.c_long(each) if isinstance(each, int) else each for each in arguments]
    return _checked(_libc().syscall(ctypes.c_long(number), *plain))


def _prctl(option: int, *arguments: int) -> int:
    padded = [ctypes.c_ulong(each) for each in (*arguments, 0, 0, 0, 0)[:4]]
    return _checked(_libc().prctl(option, *padded))


def forbid_new_privileges() -> None:
    """From now on, no program that this process runs gets more rights than the process has."""
    _prctl(_SET_NO_NEW_PRIVS, 1)


def forbid_looking_in() -> None:
    """From now on, other processes of this account cannot read our memory, and a crash leaves no core
    file."""
    _prctl(_SET_DUMPABLE, 0)


def shrink_bounding_set(kept: Collection[int] = ()) -> None:
    """From now on, only capabilities in `kept` can be gained. Held ones stay until `drop_capabilities`."""
    for number in range(64):
        try:
            held = _prctl(_CAPBSET_READ, number)
        except OSError:  # there are no more
            return
        if held and number not in kept:
            _prctl(_CAPBSET_DROP, number)


def drop_capabilities(kept: Collection[int] = ()) -> None:
    """Gives up every capability but those of `kept` (numbers below 32) that are held, also as uid 0."""
    _prctl(_CAP_AMBIENT, _AMBIENT_CLEAR_ALL)
    bits = sum(1 << number for number in kept if is_held(number))
    # Effective, permitted, inheritable; then the same for the capabilities from 32 on.
    _checked(_libc().capset(_HEADER, struct.pack("=6I", bits, bits, 0, 0, 0, 0)))


def is_held(capability: int) -> bool:
    """Whether this process may use a capability (a number below 32)."""
    held = ctypes.create_string_buffer(24)
    _checked(_libc().capget(_HEADER, held))
    _, permitted, *_ = struct.unpack("=6I", held)
    return bool(permitted >> capability & 1)


def unshare(flags: int) -> None:
    """Enters new, empty namespaces of the kinds in `flags`. CLONE_NEWUSER needs a process of one thread."""
    _checked(_libc().unshare(flags))


def landlock_abi() -> int:
    """Version of Landlock in this kernel, from 1. Raises OSError when there is none."""
    return _syscall(_CREATE_RULESET, 0, 0, 1)


def landlock(reads: Sequence[Path], writes: Sequence[Path]) -> None:
    """From now on, only paths in `reads` can be opened to read and run, and only paths in `writes` for all
    uses.

    Open files stay usable. From ABI 4 on, TCP is denied too; from ABI 6 on, also signals to other processes
    and their abstract sockets. Paths that do not exist are left out. Raises OSError when `writes` has a
    folder and the kernel's ABI is 1, because such a kernel denies every rename between folders.
    """
    abi = landlock_abi()
    if abi < 2 and any(path.is_dir() for path in writes):
        raise OSError(errno.ENOSYS, "this kernel's Landlock forbids all renames between folders")
    rights = sum(bits for since, bits in _FS_RIGHTS.items() if since <= abi)
    handled = [rights, *([_NET_RIGHTS] if abi >= 4 else []), *([_SCOPES] if abi >= 6 else [])]
    attributes = struct.pack(f"={len(handled)}Q", *handled)
    ruleset = _syscall(_CREATE_RULESET, attributes, len(attributes), 0)
    try:
        for paths, allowed in ((reads, rights & _READING), (writes, rights)):
            for path in paths:
                _allow(ruleset, path, allowed)
        _syscall(_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: Path, allowed: int) -> None:
    try:
        opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if not path.is_dir():
            allowed &= _OF_FILES
        _syscall(_ADD_RULE, ruleset, 1, struct.pack("=Qi", allowed, opened), 0)
    finally:
        os.close(opened)


def denied(*, but: Collection[str] = ()) -> set[int]:
    """Numbers of the calls listed above on this machine, without those named in `but`."""
    listed = _DENIED.get(platform.machine(), {}) | _COMMON
    return {number for name, number in listed.items() if name not in but}


def refuse_calls(numbers: Collection[int]) -> None:
    """From now on, these calls fail with EPERM, in all threads.

    Raises OSError on machines other than x86_64 and aarch64.
    """
    machine = platform.machine()
    if machine not in _DENIED:
        raise OSError(errno.ENOSYS, f"no list of system calls for {machine}")
    refused = sorted(numbers)
    last = len(refused) + 5  # the index of the refusal
    # Instructions: operation, how far to jump if true, if false, value.
    load, equal, at_least, answer = 0x20, 0x15, 0x35, 0x06
    program = [(load, 0, 0, 4), (equal, 0, last - 2, _AUDIT_ARCH[machine]), (load, 0, 0, 0)]
    program.append((at_least, last - 4, 0, _X32))
    program += [(equal, last - at - 1, 0, number) for at, number in enumerate(refused, 4)]
    program += [(answer, 0, 0, _ALLOW), (answer, 0, 0, _ERRNO | _EPERM)]
    code = b"".join(struct.pack("=HBBI", *each) for each in program)
    held = ctypes.create_string_buffer(code, len(code))
    _syscall(_SECCOMP[machine], 1, 1, struct.pack("@HP", len(program), ctypes.addressof(held)))
