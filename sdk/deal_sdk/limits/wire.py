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
    count = len(words)
    for word in words:
        if isinstance(word, str):
            parts.append(f"${len(word)}\r\n{word}\r\n")
        elif isinstance(word, Packed):
            parts.append(word.written)
            count += len(word.words) - 1
        elif isinstance(word, int):
            digits = str(word)
            parts.append(f"${len(digits)}\r\n{digits}\r\n")
        else:
            return _pack_bytes(words)
    parts[0] = f"*{count}\r\n"
    try:
        return "".join(parts).encode("ascii")
    except UnicodeEncodeError:
        # A word that is not ASCII has more bytes than characters.
        return _pack_bytes(words)


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
