"""Runs on a host: read a guest's blocks from a device past the cache and print what they are.

stdin: `number:offset` words; argument: the device. One line each: number seed block generation crc.
"""

import mmap
import os
import struct
import sys
import zlib

SIZE = 16384
fd = os.open(sys.argv[1], os.O_RDONLY | os.O_DIRECT)
buffer = mmap.mmap(-1, SIZE)
for word in sys.stdin.read().split():
    number, offset = map(int, word.split(":"))
    os.lseek(fd, offset, os.SEEK_SET)
    length = os.readv(fd, [buffer])
    magic, seed, block, generation = struct.unpack_from("<8sQQQ", buffer)
    known = length == SIZE and magic == b"XRBLOCK1"
    values = (seed, block, generation) if known else (0, 0, 0)
    print(number, *values, f"{zlib.crc32(buffer[:SIZE]):08x}")
