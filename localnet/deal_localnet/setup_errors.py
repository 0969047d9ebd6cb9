"""What a localnet refuses to start with, or to be told by its operator.

SetupError(ValueError)      whatever stands below; `code` is stable
+-- AccountFileError        an account's JSON file that cannot be read as one
+-- LedgerError             a ledger or a snapshot file that is none, is damaged or is in use
+-- OptionError             a flag whose value no chain could run with
+-- ProgramFileError        an ELF file or a key file that cannot be read as one
"""

from typing import ClassVar


class SetupError(ValueError):
    """Says what cannot be used, and why."""

    code: ClassVar[str] = "localnet_setup"


class AccountFileError(SetupError):
    """Names an account's JSON file that cannot be read as one."""

    code = "localnet_account_file"


class LedgerError(SetupError):
    """Names a ledger or a snapshot file that is none, is damaged, or belongs to a running chain."""

    code = "localnet_ledger"


class OptionError(SetupError):
    """Names a flag whose value no chain could run with."""

    code = "localnet_option"


class ProgramFileError(SetupError):
    """Names a program's ELF file or a key file that cannot be read as one."""

    code = "localnet_program_file"
