"""`dealctl dashboard` as a process: it prints its token once, on stderr, warns, serves and stops."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

from tests.acceptance.command_line import environment_of

STOP_SECONDS = 30


def test_the_first_start_prints_a_token_that_opens_it(tmp_path: Path) -> None:
    embedded = ["--rpc-url", "localnet://", "--database-url", "sqlite+aiosqlite://"]
    command = [sys.executable, "-m", "deal_sdk.cli", "dashboard", "--host", "0.0.0.0", "--port", "0"]
    errors = tmp_path / "stderr"
    with (
        errors.open("w") as said,
        subprocess.Popen(
            [*command, *embedded, "--json"],
            cwd=tmp_path,
            env=environment_of(),
            stdout=subprocess.PIPE,
            stderr=said,
            text=True,
        ) as process,
    ):
        try:
            document = _document(process)
            text = errors.read_text()
            (token,) = re.findall(r"deal_dash_\S+", text)
            assert "without TLS" in text
            url = f"http://127.0.0.1:{urlsplit(document['url']).port}/api/v1/session"
            request = urllib.request.Request(url, headers={"authorization": f"Bearer {token}"})
            with urllib.request.urlopen(request, timeout=STOP_SECONDS) as answer:
                assert json.load(answer)["role"] == "operator"
            process.send_signal(signal.SIGTERM)
            assert process.wait(STOP_SECONDS) == 0
        finally:
            process.kill()


def _document(process: subprocess.Popen[str]) -> dict[str, str]:
    """Read the document that it prints when it is ready, while it goes on running."""
    assert process.stdout is not None
    text = ""
    for line in process.stdout:
        text += line
        if line == "}\n":
            break
    found: dict[str, str] = json.loads(text)
    return found
