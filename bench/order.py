#!/usr/bin/env python3
"""Which functions a launch runs, as a linker script that puts them side by side.

    CARGO_PROFILE_RELEASE_STRIP=none cargo build --release --target x86_64-unknown-linux-musl -p pinfold-cli
    bench/order.py target/x86_64-unknown-linux-musl/release/pinfold > crates/pinfold-cli/launch.ld

steps through `pinfold session exec` and `pinfold run`, one instruction after another (a minute or two), and
prints what is committed as `crates/pinfold-cli/launch.ld`. A function that is missing there costs a page
fault, nothing else; worth a new run after large changes. Linux on x86-64.
"""

import bisect
import collections
import ctypes
import os
import re
import signal
import subprocess
import sys
import tempfile

SINGLESTEP, GETREGS, SETOPTIONS, DETACH, TRACEME = 9, 12, 0x4200, 17, 0
# Clone, fork, vfork and exec are followed; what is traced ends with this process.
OPTIONS = 1 << 3 | 1 << 1 | 1 << 2 | 1 << 4 | 1 << 20
EVENT_EXEC = 4
ALL_CHILDREN = 0x40000000
# Of `struct user_regs_struct`: 27 words, the instruction pointer is the 17th.
REGISTERS, POINTER = ctypes.c_ulong * 27, 16

CONFIGURATION = """
default_permissions = "order"
[permissions.order]
private_tmp = true
[permissions.order.filesystem]
":root" = "read"
"~/.ssh" = "deny"
[permissions.order.filesystem.":workspace_roots"]
"." = "write"
"docs" = "read"
"""

# Instances of a generic function that may lie among the others.
FEW = 3

HEAD = """/* What a launch runs, side by side, so that it touches few pages of the program.
   Printed by bench/order.py; a name that no longer exists does no harm. */
SECTIONS
{
  .text.launch :
  {
    *crt1.o(.text)
    *memcpy.lo(.text)
    *memmove.lo(.text)"""

TAIL = """  }
}
INSERT BEFORE .text;

/* Behind everything small, which so shares its pages. */
SECTIONS
{
  .bss.arena (NOLOAD) : { *(.bss.*pinfold9ALLOCATOR*) }
}
INSERT AFTER .bss;"""

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]


def stepped(command, environment):
    """The addresses that `command` executes, in the order of their first time."""
    first = os.fork()
    if first == 0:
        libc.ptrace(TRACEME, 0, None, None)
        os.kill(os.getpid(), signal.SIGSTOP)
        os.execve(command[0], command, environment)
    os.waitpid(first, 0)
    libc.ptrace(SETOPTIONS, first, None, OPTIONS)
    libc.ptrace(SINGLESTEP, first, None, None)
    addresses, registers = {}, REGISTERS()
    where = ctypes.addressof(registers)
    while True:
        try:
            process, status = os.waitpid(-1, ALL_CHILDREN)
        except ChildProcessError:
            return list(addresses)
        if not os.WIFSTOPPED(status):
            continue
        number = os.WSTOPSIG(status)
        if status >> 16 == EVENT_EXEC and process != first:
            # The command has started; its instructions are its own.
            libc.ptrace(DETACH, process, None, None)
        elif number in (signal.SIGTRAP, signal.SIGSTOP):
            libc.ptrace(GETREGS, process, None, where)
            addresses.setdefault(registers[POINTER])
            libc.ptrace(SINGLESTEP, process, None, None)
        else:
            libc.ptrace(SINGLESTEP, process, None, int(number))


def functions(program):
    """The functions of `program` as sorted pairs of address and name."""
    listed = subprocess.run(["nm", program], check=True, capture_output=True, text=True).stdout
    rows = (line.split() for line in listed.splitlines())
    return sorted((int(row[0], 16), row[2]) for row in rows if row[1] in "tTwW")


def section(name):
    """A pattern for the section of function `name`, whatever hash a compiler gives it."""
    name = re.sub(r"17h[0-9a-f]{16}E", "17h*", name)
    name = re.sub(r"Cs[0-9A-Za-z]+_", "Cs*_", name)
    # Parts of one function that the compiler put elsewhere.
    name = re.sub(r"\.(cold|llvm|part|isra|constprop).*", "*", name)
    return f".text.{name}"


def main():
    program = os.path.abspath(sys.argv[1])
    named = functions(program)
    starts = [address for address, _ in named]
    with tempfile.TemporaryDirectory(dir="/var/tmp") as base:
        environment = dict(os.environ, HOME=base, XDG_RUNTIME_DIR=base)
        os.chdir(base)
        os.makedirs(".config/pinfold")
        with open(".config/pinfold/config.toml", "w", encoding="utf-8") as file:
            file.write(CONFIGURATION)
        subprocess.run([program, "session", "start", "order"], env=environment, check=True, stdout=-3)
        # A client of a session touches least: its functions come first.
        ran = stepped([program, "session", "exec", "order", "true"], environment)
        ran += stepped([program, "run", "true"], environment)
        subprocess.run([program, "session", "stop", "order"], env=environment, check=True)
    found, alike = {}, collections.Counter(section(name) for _, name in named)
    for address in ran:
        index = bisect.bisect_right(starts, address) - 1
        if index >= 0:
            found.setdefault(section(named[index][1]))
    print(HEAD)
    # Of a generic function all instances are taken, most of which no launch runs: they come last.
    for name in sorted(found, key=lambda name: alike[name] > FEW and alike[name]):
        print(f"    *({name})")
    print(TAIL)


main()
