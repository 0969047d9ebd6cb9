"""The Lua that ships with the package, and the two ways in which a server runs it.

A real server runs a script by its digest (EVALSHA). The in-process server compiles a script at every
EVALSHA but a function once, so there the same source is registered as a function (FCALL), three times
as fast. Owns no connection.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Final, Protocol, TypeAlias


@dataclass(frozen=True, slots=True)
class Packed:
    """Words that are sent often, written once as the connection carries them; ASCII."""

    words: tuple[str, ...]
    written: str = field(repr=False, compare=False)

    @classmethod
    def of(cls, words: tuple[str, ...]) -> Packed:
        """Write words.

        Args:
            words: ASCII text.
        """
        return cls(words, "".join([f"${len(word)}\r\n{word}\r\n" for word in words]))


Argument: TypeAlias = str | bytes | int | Packed
Key: TypeAlias = str | Packed
"""A key, or several in a row."""
Words: TypeAlias = tuple[Argument, ...]


def unpacked(words: Sequence[Argument]) -> list[Argument]:
    """Return every word by itself."""
    single: list[Argument] = []
    for word in words:
        single.extend(word.words if isinstance(word, Packed) else (word,))
    return single


_LUA_PACKAGE: Final = "deal_sdk.limits"


@dataclass(frozen=True, slots=True)
class Script:
    """A Lua script: its name, its source, and the digest under which a server keeps it."""

    name: str
    source: str = field(repr=False)
    sha1: str
    called: Packed = field(init=False, repr=False, compare=False)
    """The words that begin each call of it by its digest."""

    def __post_init__(self) -> None:
        """Write what every call begins with."""
        object.__setattr__(self, "called", Packed.of(("EVALSHA", self.sha1)))


@cache
def load_script(name: str, *parts: str, package: str = _LUA_PACKAGE) -> Script:
    """Read a script that ships with an area, its parts one after another.

    Args:
        name: what the script is called; unique in the package.
        parts: file names in the package's `lua` folder without ".lua".
        package: the area that ships them.
    """
    folder = resources.files(package).joinpath("lua")
    source = "\n".join(folder.joinpath(f"{part}.lua").read_text("utf-8") for part in parts)
    # SHA-1 is the name that EVALSHA knows a script by, not a protection.
    return Script(name, source, hashlib.sha1(source.encode(), usedforsecurity=False).hexdigest())


class ScriptForm(Protocol):
    """How one kind of server loads and calls a script."""

    def load(self, script: Script) -> Words:
        """Return the command that makes the script known."""
        ...

    def call(self, script: Script, keys: Sequence[Key], arguments: Sequence[Argument]) -> Words:
        """Return the command that runs it."""
        ...


class Digests:
    """EVALSHA, for every real server."""

    def load(self, script: Script) -> Words:
        """Return SCRIPT LOAD."""
        return ("SCRIPT", "LOAD", script.source)

    def call(self, script: Script, keys: Sequence[Key], arguments: Sequence[Argument]) -> Words:
        """Return EVALSHA."""
        count = 0
        for key in keys:
            count += len(key.words) if isinstance(key, Packed) else 1
        return (script.called, count, *keys, *arguments)


class Functions:
    """FCALL, for the in-process server."""

    def load(self, script: Script) -> Words:
        """Return FUNCTION LOAD of a library that holds this one function."""
        head = f"#!lua name={script.name}\nredis.register_function('{script.name}', function(KEYS, ARGV)\n"
        return ("FUNCTION", "LOAD", "REPLACE", f"{head}{script.source}\nend)")

    def call(self, script: Script, keys: Sequence[Key], arguments: Sequence[Argument]) -> Words:
        """Return FCALL, every word by itself: nothing is written on a connection."""
        names = unpacked(keys)
        return ("FCALL", script.name, len(names), *names, *unpacked(arguments))
