"""What an account must hold to be exempt from rent."""

from typing import Final

ACCOUNT_OVERHEAD_BYTES: Final = 128
RENT_LAMPORTS_PER_BYTE: Final = 6_960


def rent_exempt_minimum(data_bytes: int) -> int:
    """Return the lamports that an account of a size must hold."""
    return (ACCOUNT_OVERHEAD_BYTES + data_bytes) * RENT_LAMPORTS_PER_BYTE
