"""How commands are written on a connection: RESP, as every Redis server reads it.

The client library's own writer looks at each argument several times, which is most of the CPU time of a
command with forty of them. This one writes the same bytes.
"""

from __future__ import annotations

from collections.abc import Sequence

from deal_sdk.limits.scripts import Packed, Words


def pack(commands: Sequence[Words]) -> bytes:
    """Write commands as one piece.

    Args:
        commands: their words; text is written as UTF-8.
    """
    return b"".join([_pack_one(words) for words in commands])


def _pack_one(words: Words) -> bytes:
    parts = [""]
    count = 0
    for word in words:
        if isinstance(word, Packed):
            parts.append(word.written)
            count += len(word.words)
            continue
        if isinstance(word, int):
            word = str(word)
        elif isinstance(word, bytes) or not word.isascii():
            return _pack_bytes(words)
        parts.append(f"${len(word)}\r\n{word}\r\n")
        count += 1
    parts[0] = f"*{count}\r\n"
    return "".join(parts).encode("ascii")


def _pack_bytes(words: Words) -> bytes:
    parts = [b""]
    count = 0
    for word in words:
        if isinstance(word, Packed):
            parts.append(word.written.encode("ascii"))
            count += len(word.words)
            continue
        text = word if isinstance(word, bytes) else str(word).encode()
        parts.append(b"$%d\r\n%b\r\n" % (len(text), text))
        count += 1
    parts[0] = b"*%d\r\n" % count
    return b"".join(parts)
