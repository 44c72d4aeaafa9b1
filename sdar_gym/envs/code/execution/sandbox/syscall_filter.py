"""Filter of system calls (seccomp) for untrusted programs, as classic BPF.

It refuses what no evaluation of a program needs: sockets (network namespaces do not cover AF_VSOCK), new namespaces
and mounts (they would give capabilities and unlimited memory), tracing, and whatever outlives a process inside a
sandbox: System V and POSIX message queues, shared memory, keys. Refused calls fail with EPERM, so that programs see an
exception.

Source: Documentation/userspace-api/seccomp_filter.rst and the tables of system calls of the Linux kernel.
"""

from __future__ import annotations

import struct

from . import syscalls

# Names in the order of both columns: x86_64, aarch64.
_REFUSED = {
    "acct": (163, 89),
    "add_key": (248, 217),
    "bpf": (321, 280),
    "chroot": (161, 51),
    "clock_adjtime": (305, 266),
    "clock_settime": (227, 112),
    "delete_module": (176, 106),
    "fanotify_init": (300, 262),
    "finit_module": (313, 273),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fsopen": (430, 430),
    "fspick": (433, 433),
    "init_module": (175, 105),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "io_uring_setup": (425, 425),
    "kcmp": (312, 272),
    "kexec_file_load": (320, 294),
    "kexec_load": (246, 104),
    "keyctl": (250, 219),
    "lookup_dcookie": (212, 18),
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "migrate_pages": (256, 238),
    "mount": (165, 40),
    "mount_setattr": (442, 442),
    "move_mount": (429, 429),
    "move_pages": (279, 239),
    "mq_open": (240, 180),
    "mq_unlink": (241, 181),
    "msgget": (68, 186),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "open_tree": (428, 428),
    "perf_event_open": (298, 241),
    "personality": (135, 92),
    "pidfd_getfd": (438, 438),
    "pivot_root": (155, 41),
    "process_madvise": (440, 440),
    "process_mrelease": (448, 448),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "ptrace": (101, 117),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "reboot": (169, 142),
    "request_key": (249, 218),
    "semget": (64, 190),
    "setdomainname": (171, 162),
    "sethostname": (170, 161),
    "setns": (308, 268),
    "settimeofday": (164, 170),
    "shmat": (30, 196),
    "shmget": (29, 194),
    "socket": (41, 198),
    "swapoff": (168, 225),
    "swapon": (167, 224),
    "syslog": (103, 116),
    "umount2": (166, 39),
    "unshare": (272, 97),
    "userfaultfd": (323, 282),
    "vhangup": (153, 58),
}
# Where processes of the same user are not hidden: signals reach this process and its group alone.
_REFUSED_BESIDE_NAMESPACES = {
    "pidfd_send_signal": (424, 424),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "tkill": (200, 130),
}
_OWN_PROCESS_ONLY = {"prlimit64": (302, 261)}
_OWN_PROCESS_ONLY_BESIDE_NAMESPACES = {"kill": (62, 129), "tgkill": (234, 131)}
_CLONE, _CLONE3 = (56, 220), (435, 435)
_AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_ALLOW, _EPERM, _ENOSYS, _KILL_PROCESS = 0x7FFF0000, 0x00050001, 0x00050026, 0x80000000
_LOAD, _EQUAL, _GREATER_EQUAL, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16


def syscall_filter(own_process: int, alone: bool) -> bytes:
    """The filter's instructions.

    Args:
        own_process: Id of the process to filter, the only one whose limits it may change.
        alone: Whether it is in a namespace of processes; if not, it and its descendants may send signals to it alone.

    Raises:
        OSError: The machine is not one whose numbers are known.
    """
    syscalls.number("seccomp")
    column = list(_AUDIT_ARCH).index(syscalls.MACHINE)
    code = [
        _step(_LOAD, _ARCHITECTURE),
        _step(_EQUAL, _AUDIT_ARCH[syscalls.MACHINE], 1, 0),
        _step(_RETURN, _KILL_PROCESS),
        _step(_LOAD, _NUMBER),
        # System calls of the x32 interface have numbers of their own, which no list here covers.
        _step(_GREATER_EQUAL, 0x40000000, 0, 1),
        _step(_RETURN, _KILL_PROCESS),
    ]
    refused = [numbers[column] for numbers in _REFUSED.values()]
    if not alone:
        refused += [numbers[column] for numbers in _REFUSED_BESIDE_NAMESPACES.values()]
    for number in refused:
        code += [_step(_EQUAL, number, 0, 1), _step(_RETURN, _EPERM)]
    # The flags of clone3 lie in memory, which a filter cannot read; the C library falls back to clone.
    code += [_step(_EQUAL, _CLONE3[column], 0, 1), _step(_RETURN, _ENOSYS)]
    code += [
        _step(_EQUAL, _CLONE[column], 0, 4),
        _step(_LOAD, _FIRST_ARGUMENT),
        _step(_ANY_BIT, sum(syscalls.NAMESPACES.values()) | 0x02000000, 0, 1),  # and CLONE_NEWCGROUP
        _step(_RETURN, _EPERM),
        _step(_RETURN, _ALLOW),
    ]
    own = _OWN_PROCESS_ONLY if alone else _OWN_PROCESS_ONLY | _OWN_PROCESS_ONLY_BESIDE_NAMESPACES
    for number in (numbers[column] for numbers in own.values()):
        code += [
            _step(_EQUAL, number, 0, 5),
            _step(_LOAD, _FIRST_ARGUMENT),
            _step(_EQUAL, 0, 2, 0),
            _step(_EQUAL, own_process, 1, 0),
            _step(_RETURN, _EPERM),
            _step(_RETURN, _ALLOW),
        ]
    code.append(_step(_RETURN, _ALLOW))
    return b"".join(code)


def _step(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, value)
