"""What is wrong with a text that is no base64, in the words of Agave's decoder."""

import re
from typing import Final

NOT_BASE64: Final = re.compile(r"[^A-Za-z0-9+/=]")


def base64_fault(text: str) -> str:
    """Say which character is not base64, or that the padding is wrong."""
    bad = NOT_BASE64.search(text)
    return f"InvalidByte({bad.start()}, {ord(bad.group())})" if bad else "InvalidPadding"
