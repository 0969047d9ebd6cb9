"""TLS for clients: which authorities are trusted, and what this side proves who it is with.

Owns the reading of the files. It never turns the verification of the other side off.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import Final

from pydantic import SecretStr

from deal_sdk.errors import ConfigurationError

__all__ = ["ClientTlsFiles", "client_context"]

_NO_PASSWORD: Final = ""


@dataclass(frozen=True, slots=True)
class ClientTlsFiles:
    """PEM files; without any, the system's authorities are trusted and nothing is proven."""

    ca_file: str | None = None
    """Certificates of the authorities that are trusted instead of the system's."""
    certificate_file: str | None = None
    """This side's certificate, for servers that ask for one."""
    key_file: str | None = None
    """Its key, where the certificate's file does not hold it."""
    key_password: SecretStr | None = None

    @property
    def any(self) -> bool:
        """Return whether a file is named."""
        return any((self.ca_file, self.certificate_file, self.key_file))


def client_context(files: ClientTlsFiles, whose: str) -> ssl.SSLContext:
    """Read the files; it takes milliseconds, so that on a busy event loop it belongs into a thread.

    Args:
        files: what the settings name.
        whose: completes "the TLS files of ..." in the refusal.

    Raises:
        ConfigurationError: when one cannot be read, a key does not belong to its certificate or has no
            certificate, or its password is wrong; otherwise that would look like a server which is away.
    """
    if files.key_file is not None and files.certificate_file is None:
        raise ConfigurationError(f"the TLS files of {whose} name a key without its certificate")
    try:
        context = ssl.create_default_context(cafile=files.ca_file)
        if files.certificate_file is not None:
            context.load_cert_chain(files.certificate_file, files.key_file, lambda: _password(files))
    except (OSError, ValueError):
        raise ConfigurationError(f"the TLS files of {whose} cannot be used") from None
    return context


def _password(files: ClientTlsFiles) -> str:
    # Without an answer OpenSSL would ask at the terminal.
    return _NO_PASSWORD if files.key_password is None else files.key_password.get_secret_value()
