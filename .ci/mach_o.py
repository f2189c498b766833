"""Reads what a Mac would: mach_o.py FILE ARCHITECTURE OLDEST_MACOS

Succeeds if FILE is a Mach-O program for that architecture which runs from that release of macOS on and imports only
libSystem. Layout and numbers: <mach-o/loader.h>.
"""

import struct
import sys

MAGIC_64 = 0xFEEDFACF
PROGRAM = 2
CPU_TYPES = {"x86_64": 0x01000007, "aarch64": 0x0100000C}
CODE_SIGNATURE = 0x1D
BUILD_VERSION = 0x32
# LC_LOAD_DYLIB, LC_LOAD_WEAK_DYLIB, LC_REEXPORT_DYLIB, LC_LAZY_LOAD_DYLIB, LC_LOAD_UPWARD_DYLIB
IMPORTS = {0xC, 0x80000018, 0x8000001F, 0x20, 0x80000023}
FOR_MACOS = 1
LIB_SYSTEM = "/usr/lib/libSystem.B.dylib"


def load_commands(data):
    """All load commands, as number and bytes."""
    _, _, _, _, count, size, _, _ = struct.unpack_from("<8I", data)
    at, end = 32, 32 + size
    for _ in range(count):
        number, length = struct.unpack_from("<2I", data, at)
        if length < 8 or at + length > end:
            raise ValueError(f"the load command at {at} is too short or too long")
        yield number, data[at : at + length]
        at += length


def version(packed):
    return f"{packed >> 16}.{packed >> 8 & 0xFF}"


def main(path, architecture, oldest_macos):
    with open(path, "rb") as program:
        data = program.read()
    magic, cpu, _, kind = struct.unpack_from("<4I", data)
    imports, oldest, signed, wrong = [], None, False, []
    if magic != MAGIC_64 or kind != PROGRAM:
        sys.exit(f"{path} is not a 64-bit Mach-O program")
    if cpu != CPU_TYPES[architecture]:
        wrong.append(f"is for CPU type {cpu:#x} and not for {architecture}")
    for number, command in load_commands(data):
        if number in IMPORTS:
            (name_at,) = struct.unpack_from("<I", command, 8)
            imports.append(command[name_at:].split(b"\0")[0].decode())
        elif number == BUILD_VERSION:
            platform, packed = struct.unpack_from("<2I", command, 8)
            oldest = version(packed) if platform == FOR_MACOS else f"platform {platform}"
        elif number == CODE_SIGNATURE:
            signed = True
    if imports != [LIB_SYSTEM]:
        wrong.append(f"imports {imports} and not only {LIB_SYSTEM}")
    if oldest != oldest_macos:
        wrong.append(f"runs from macOS {oldest} on and not from {oldest_macos}")
    # An Apple Silicon kernel runs nothing unsigned.
    if architecture == "aarch64" and not signed:
        wrong.append("is not signed")
    if wrong:
        sys.exit(f"{path} " + "; it ".join(wrong))
    print(f"{path}: {architecture}, macOS {oldest} and later, imports {', '.join(imports)}")


if __name__ == "__main__":
    main(*sys.argv[1:])
