"""`dealctl`, the command line: everything an operator does without writing a program.

It owns commands, their options, and how results and errors are shown: with `--json` exactly one JSON
document on stdout, everything else on stderr; exit 0 when done, 1 when refused or failed with the error's
`code` on stderr, 2 for wrong usage, 130 when interrupted. It never decides anything about money: every
command calls `Deal`, and a secret is never shown.
"""

from deal_sdk.cli.application import main

__all__ = ["main"]
