"""A disk with one program of 16-bit code, which any PC boots: it speaks on the serial port, and writes to its disk.

A whole Linux in an emulated machine within an emulated machine would take an hour.
"""

from __future__ import annotations

SENTENCE = "booted from a volume of Cinder"
SIZE = 1 << 20
SECTOR = 512
# A BIOS loads the first sector of the disk to 7C00, with the disk's number in DL, and jumps there (it ends with 55 AA).
_CODE = """
52            push dx
31 C0         xor ax, ax
8E D8         mov ds, ax
8E C0         mov es, ax
FC            cld
BE {text}      mov si, text
AC            next: lodsb                 the next letter of the text; a zero ends it
84 C0         test al, al
74 12         jz done
88 C3         mov bl, al
BA FD 03      mov dx, 3FD                 COM1's line status: bit 5 says that it takes a letter
EC            wait: in al, dx
A8 20         test al, 20
74 FB         jz wait
BA F8 03      mov dx, 3F8                 COM1 itself
88 D8         mov al, bl
EE            out dx, al
EB E9         jmp next
5A            done: pop dx
B6 00         mov dh, 0                   head 0
B8 01 03      mov ax, 0301                write one sector
BB 00 7C      mov bx, 7C00                of what is here, this program
B9 02 00      mov cx, 0002                to cylinder 0, sector 2: the disk's second
CD 13         int 13
FA            cli
F4            halt: hlt
EB FD         jmp halt
"""


def disk() -> bytes:
    """The disk's content."""
    size = len(_assembled("00 00"))
    at = 0x7C00 + size
    program = _assembled(f"{at & 0xFF:02X} {at >> 8:02X}") + f"{SENTENCE}\r\n\0".encode()
    return (program.ljust(SECTOR - 2, b"\0") + b"\x55\xaa").ljust(SIZE, b"\0")


def _assembled(text: str) -> bytes:
    return bytes.fromhex(" ".join(line[:14] for line in _CODE.format(text=text).strip().splitlines()))
