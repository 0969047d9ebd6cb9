"""How an instruction's bytes become named fields."""

from typing import Any, Final, NamedTuple

from solders.pubkey import Pubkey

WIDTHS: Final = {"u8": 1, "u32": 4, "u64": 8}

Parsed = tuple[str, dict[str, Any]] | None


class Fields:
    """Reads values one after another; too few bytes raise, so that the caller falls back to raw parts."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._position = 0

    def take(self, count: int) -> bytes:
        """Return the next bytes."""
        part = self._data[self._position : self._position + count]
        if len(part) < count:
            raise ValueError("instruction ends too early")
        self._position += count
        return part

    def unsigned(self, width: int) -> int:
        """Return the next little-endian unsigned integer."""
        return int.from_bytes(self.take(width), "little")

    def signed(self, width: int) -> int:
        """Return the next little-endian signed integer."""
        return int.from_bytes(self.take(width), "little", signed=True)

    def address(self) -> str:
        """Return the next address."""
        return str(Pubkey.from_bytes(self.take(32)))

    def optional_address(self) -> str | None:
        """Return the next address, which a byte announces."""
        return self.address() if self.unsigned(1) else None

    def text(self) -> str:
        """Return the next text, which a 64-bit length precedes."""
        return self.take(self.unsigned(8)).decode()

    def short_text(self) -> str:
        """Return the next text, which a 32-bit length precedes."""
        return self.take(self.unsigned(4)).decode()

    def rest(self) -> bytes:
        """Return what is left."""
        return self.take(len(self._data) - self._position)

    def value(self, kind: str) -> Any:
        """Return the next value of a kind that a layout names."""
        if kind == "key":
            return self.address()
        return self.text() if kind == "text" else self.unsigned(WIDTHS[kind])


class Layout(NamedTuple):
    """Names an instruction's accounts and the fields of its data, in order."""

    kind: str
    accounts: list[str]
    fields: list[tuple[str, str]]

    def read(self, accounts: list[str], fields: Fields) -> Parsed:
        """Return type and info; too few accounts give None."""
        if len(accounts) < len(self.accounts):
            return None
        info: dict[str, Any] = dict(zip(self.accounts, accounts, strict=False))
        for name, kind in self.fields:
            info[name] = fields.value(kind)
        return self.kind, info


def layout(kind: str, accounts: list[str], fields: str) -> Layout:
    """Write a layout down in one line: `name:kind name:kind`."""
    pairs = [part.split(":") for part in fields.split()]
    return Layout(kind, accounts, [(name, value) for name, value in pairs])
