"""Base58, the text form of addresses, signatures and short data on Solana."""

from typing import Final

ALPHABET: Final = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
VALUES: Final = {character: value for value, character in enumerate(ALPHABET)}
BASE: Final = 58
CHUNK_DIGITS: Final = 10
CHUNK: Final = BASE**CHUNK_DIGITS


def b58encode(data: bytes) -> str:
    """Encode bytes; leading zero bytes become leading ones."""
    number = int.from_bytes(data, "big")
    digits: list[str] = []
    while number:
        number, part = divmod(number, CHUNK)
        for _ in range(CHUNK_DIGITS):
            part, digit = divmod(part, BASE)
            digits.append(ALPHABET[digit])
    text = "".join(reversed(digits)).lstrip(ALPHABET[0])
    return ALPHABET[0] * (len(data) - len(data.lstrip(b"\0"))) + text


def b58decode(text: str) -> bytes:
    """Decode text; a character outside of the alphabet raises KeyError."""
    number = 0
    for character in text:
        number = number * BASE + VALUES[character]
    zeros = len(text) - len(text.lstrip(ALPHABET[0]))
    return bytes(zeros) + number.to_bytes((number.bit_length() + 7) // 8, "big")


def bad_character(text: str) -> str | None:
    """Say which character is not base58, in the words of Agave's decoder; None when all are."""
    for position, character in enumerate(text):
        if character not in VALUES:
            return f"InvalidCharacter {{ character: '{character}', index: {position} }}"
    return None
