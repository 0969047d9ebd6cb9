"""Finds the object that answers for the operator's channel, by the name that settings give it."""

from __future__ import annotations

import inspect
from importlib import import_module

from deal_sdk.accounting import ChannelMembership
from deal_sdk.errors import ConfigurationError


def load_membership(name: str) -> ChannelMembership:
    """Import the object whose `is_member` tells who is in the channel.

    Args:
        name: `module:object`, as the object is imported where this process runs.

    Raises:
        ConfigurationError: when there is no such object, or it cannot answer.
    """
    module, separator, path = name.partition(":")
    if not (separator and module and path):
        raise ConfigurationError("a channel membership is named MODULE:OBJECT", name=name[:255])
    try:
        found: ChannelMembership = import_module(module)
        for part in path.split("."):
            found = getattr(found, part)
    except Exception as error:
        # The module is the caller's, and may raise whatever it likes while it is imported.
        raise ConfigurationError(
            f"the channel membership {name!r:.255} cannot be imported: {type(error).__name__}: {error}"
        ) from None
    if inspect.isclass(found):
        raise ConfigurationError(f"the channel membership {name!r:.255} is a class; name one of its objects")
    if not callable(getattr(found, "is_member", None)):
        raise ConfigurationError(f"the channel membership {name!r:.255} has no is_member")
    return found
