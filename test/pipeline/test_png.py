"""A PNG is drawn exactly, or refused before its chunks cost more than its picture."""

from __future__ import annotations

import struct
import tracemalloc
import zlib

import cv2
import numpy as np
import pytest
from pipeline.pictures import png, png_frame, refused_somewhere, smooth
from pipeline.vehicle import decoded

from alpamayo_ros.pipeline.images import compressed_header
from alpamayo_ros.types import InvalidInput


def chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    at, found = 8, []
    while at < len(data):
        (size,) = struct.unpack(">I", data[at : at + 4])
        found.append((data[at + 4 : at + 8], data[at + 8 : at + 8 + size]))
        at += 12 + size
    return found


def rebuilt(parts: list[tuple[bytes, bytes]]) -> bytes:
    """A PNG of chunks, with right checksums."""
    packed = [struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in parts]
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_png_pixels_are_exact(channels: int) -> None:
    image = np.random.default_rng(5).integers(0, 256, (48, 64, channels), dtype=np.uint8)
    data = png(image)  # OpenCV writes BGR(A) as RGB(A)
    rgb = np.repeat(image, 3, axis=2) if channels == 1 else image[:, :, 2::-1]
    assert compressed_header(memoryview(data), "png") == ("png", 48, 64)
    assert np.array_equal(decoded(png_frame(data, 48, 64), 48, 64), rgb)


def test_a_damaged_png_is_refused() -> None:
    data = png(smooth(48, 64))
    head, *_, end = parts = chunks(data)
    body = b"".join(part for kind, part in parts if kind == b"IDAT")
    rows = zlib.decompress(body)
    flipped = bytearray(data)
    flipped[data.index(b"IDAT") + 40] ^= 1
    wrong = {
        "no end chunk": data[:-12],
        "cut in half": data[: len(data) // 2],
        "wrong checksum": bytes(flipped),
        "half the rows": rebuilt([head, (b"IDAT", zlib.compress(rows[: len(rows) // 2])), end]),
        "cut stream": rebuilt([head, (b"IDAT", body[: len(body) // 2]), end]),
        "wrong Adler-32": rebuilt([head, (b"IDAT", body[:-1] + bytes([body[-1] ^ 1])), end]),
    }
    assert not refused_somewhere(rebuilt([head, (b"IDAT", body), end]), "png")
    assert {name for name, damaged in wrong.items() if not refused_somewhere(damaged, "png")} == set()


def ihdr(height: int, width: int, interlaced: int = 0) -> tuple[bytes, bytes]:
    return b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, interlaced)


ROWS = (b"\0" + bytes(32 * 3)) * 24
BOMB = zlib.compress(bytes(100_000_000), 9)  # 97 kB


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        ([(b"zTXt", b"a\0\0" + BOMB)], "chunk b'zTXt'"),
        ([(b"iTXt", b"a\0\1\0\0\0" + BOMB)], "chunk b'iTXt'"),
        ([(b"iCCP", b"a\0\0" + BOMB)], "chunk b'iCCP'"),
        ([(b"fdAT", BOMB)], "chunk b'fdAT'"),
        ([(b"tEXt", b"a\0b")] * 9000, "more than 8192 chunks"),
        ([(b"IDAT", BOMB)], "32x24: its rows inflate to more than its header declares"),
        ([(b"IDAT", b"")] * 9000, "more than 8192 chunks"),
        ([(b"IDAT", b"no deflate stream")], "incorrect header check"),
    ],
)
def test_a_png_that_is_a_bomb_is_refused_before_it_is_decoded(
    parts: list[tuple[bytes, bytes]], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(cv2, "imdecode")
    data = rebuilt([ihdr(24, 32), *parts, (b"IDAT", zlib.compress(ROWS)), (b"IEND", b"")])
    assert compressed_header(memoryview(data), "png") == ("png", 24, 32)
    tracemalloc.start()
    with pytest.raises(InvalidInput, match=rf"front_wide: png of \d+ bytes cannot be decoded: .*{says}"):
        decoded(png_frame(data, 24, 32), 24, 32)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4_000_000


@pytest.mark.parametrize(
    ("kind", "size"), [(b"IDAT", 0xFFFFFA81), (b"tEXt", 0x7FFFFFFF), (b"IDAT", 1000), (b"IEND", 0xFFFF0081)]
)
def test_a_chunk_that_claims_more_than_came_is_refused_before_it_is_decoded(
    kind: bytes, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(cv2, "imdecode")
    data = rebuilt([ihdr(24, 32)]) + struct.pack(">I", size) + kind + b"123456789"
    with pytest.raises(InvalidInput, match=f"chunk {kind!r} claims {size} bytes where 5 are left"):
        decoded(png_frame(data, 24, 32), 24, 32)


def test_a_png_whose_rows_are_spread_over_many_chunks_is_drawn() -> None:
    body = zlib.compress(ROWS, 0)
    pieces = [(b"IDAT", body[at : at + 3]) for at in range(0, len(body), 3)]
    data = rebuilt([ihdr(24, 32), (b"tEXt", b"made\0here"), *pieces, (b"IEND", b"")])
    assert not decoded(png_frame(data, 24, 32), 24, 32).any()


def test_an_interlaced_png_is_refused() -> None:
    data = rebuilt([ihdr(24, 32, interlaced=1), (b"IDAT", zlib.compress(ROWS)), (b"IEND", b"")])
    with pytest.raises(InvalidInput, match="interlaced rows: want them in order"):
        compressed_header(memoryview(data), "png")


def test_a_png_of_16_bits_is_refused() -> None:
    with pytest.raises(InvalidInput, match="16 bits per channel: want 8"):
        compressed_header(memoryview(png(np.zeros((8, 8, 3), np.uint16))), "png")
