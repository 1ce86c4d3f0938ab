# SPDX-License-Identifier: GPL-2.0
"""Pictures, with Python's own modules: PNG files with eight bits per channel, not interlaced."""

import re
import struct
import zlib

from base.steps import Failure

SIGNATURE = b"\x89PNG\r\n\x1a\n"
CHANNELS = {2: 3, 6: 4}     # of PNG's colour types RGB and RGBA


def png(ppm):
    """A binary PPM file as a PNG file."""
    header = re.match(rb"P6\s+(\d+)\s+(\d+)\s+255\s", ppm)
    width, height = int(header[1]), int(header[2])
    pixels = ppm[header.end():]
    if len(pixels) != width * height * 3:
        raise Failure(f"a picture of {width} x {height} with {len(pixels)} bytes")

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    # Each line begins with its filter: none.
    lines = b"".join(b"\0" + pixels[start:start + width * 3] for start in range(0, len(pixels), width * 3))
    return (SIGNATURE + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
            + chunk(b"IDAT", zlib.compress(lines, 9)) + chunk(b"IEND", b""))


def read_png(data):
    """Lines of pixels, (red, green, blue) or with alpha, of a PNG file's @data."""
    if not data.startswith(SIGNATURE):
        raise Failure("not a PNG file")
    chunks, place = {}, len(SIGNATURE)
    while place < len(data):
        size, kind = struct.unpack_from(">I4s", data, place)
        chunks[kind] = chunks.get(kind, b"") + data[place + 8:place + 8 + size]
        place += 12 + size
    width, height, bits, colour, _, _, interlace = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
    if bits != 8 or colour not in CHANNELS or interlace:
        raise Failure(f"a PNG file of {bits} bits, colour type {colour}, interlace {interlace}")
    step, packed = CHANNELS[colour], zlib.decompress(chunks[b"IDAT"])
    before, lines = bytearray(width * step), []
    for start in range(0, height * (width * step + 1), width * step + 1):
        line = bytearray(packed[start + 1:start + 1 + width * step])
        unfilter(packed[start], line, before, step)
        lines.append([tuple(line[at:at + step]) for at in range(0, len(line), step)])
        before = line
    return lines


def unfilter(kind, line, above, step):
    """Undo the filter of that @kind on a @line of a PNG file, below the line @above; pixels have @step bytes."""
    for at, value in enumerate(line):
        left, up = line[at - step] if at >= step else 0, above[at]
        corner = above[at - step] if at >= step else 0
        near = min((left, up, corner), key=lambda guess: abs(left + up - corner - guess))
        line[at] = (value + (0, left, up, (left + up) // 2, near)[kind]) & 255
