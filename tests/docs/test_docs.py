"""Every document's code runs, and everything that it names is there."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path
from xml.etree import ElementTree

import pytest
from typer.main import get_command

from deal_sdk.cli.application import build
from deal_sdk.settings import load_settings
from tests.docs.documents import DOCS, README, REPOSITORY, Document, documents, shell_commands
from tests.docs.running import run_document, run_program

DOCUMENTS = tuple(documents())
WITH_CODE = [
    document for document in DOCUMENTS if any(block.language == "python" for block in document.blocks())
]
EMBEDDED = [document for document in WITH_CODE if not document.needs_servers]
ON_SERVERS = [document for document in WITH_CODE if document.needs_servers]
README_BLOCKS = next(document for document in DOCUMENTS if document.path == README).blocks()
MIN_SIGNATURE_LENGTH = 12
SITE = DOCS / "mkdocs/mkdocs.yml"


def by_name(document: Document) -> str:
    return document.name


@pytest.mark.parametrize("document", EMBEDDED, ids=by_name)
async def test_its_code_runs(document: Document) -> None:
    await run_document(document)


@pytest.mark.parametrize("document", ON_SERVERS, ids=by_name)
async def test_its_code_runs_on_real_servers(
    document: Document,
    validator_url: str,
    postgres_url: str,
    redis_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DEAL_RPC_URL", validator_url)
    monkeypatch.setenv("DEAL_DATABASE_URL", postgres_url)
    monkeypatch.setenv("DEAL_REDIS_URL", redis_url)
    monkeypatch.setenv("DEAL_KEYSTORE_PASSPHRASE", "a passphrase for this test alone")
    await run_document(document, with_dealctl=True)


def test_the_documents_that_show_the_way_have_code() -> None:
    with_code = {document.path for document in WITH_CODE}
    guides = [DOCS / "tutorial", DOCS / "how-to"]
    pages = {page for guide in guides for page in guide.glob("*.md")}
    assert len(pages) > 3
    assert pages | {README} <= with_code
    assert ON_SERVERS != []


@pytest.mark.parametrize("document", DOCUMENTS, ids=by_name)
def test_its_links_lead_somewhere(document: Document) -> None:
    targets = [link.split("#")[0] for link in document.links() if "://" not in link]
    missing = [target for target in targets if target and not (document.path.parent / target).exists()]
    assert missing == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=by_name)
def test_its_commands_can_be_typed(document: Document) -> None:
    for command in shell_commands(document, "dealctl", ("bash", "console")):
        check_usage(shlex.split(command))


def test_a_command_that_cannot_be_typed_is_noticed() -> None:
    for arguments in (["teleport"], ["user", "create", "--colour", "red"], ["transfer", "treasury"]):
        with pytest.raises(AssertionError):
            check_usage(arguments)


def check_usage(arguments: list[str]) -> None:
    """Let the command line read the arguments without running anything."""
    command, name = get_command(build()), "dealctl"
    while subcommands := getattr(command, "commands", None):
        if getattr(command, "invoke_without_command", False) and not set(arguments[:1]) & set(subcommands):
            break  # a group that does something by itself takes options of its own
        assert arguments, f"{name} needs a command"
        name, *arguments = arguments
        assert name in subcommands, f"there is no command {name}"
        command = subcommands[name]
    try:
        command.make_context(name, list(arguments))
    except Exception as error:
        raise AssertionError(f"dealctl {name} {arguments}: {error}") from error


def test_every_script_that_is_named_can_be_run() -> None:
    for document in DOCUMENTS:
        for name in re.findall(r"\./(scripts/[\w/.-]*\w)", document.text):
            assert os.access(REPOSITORY / name, os.X_OK), f"{document.name} names {name}"


def test_every_setting_that_is_named_exists() -> None:
    known = {f"DEAL_{name.upper()}" for name in type(load_settings()).model_fields}
    # Not the package's: which servers the test suite uses, and which Python makes its environment.
    known |= {"DEAL_TEST_VALIDATOR", "DEAL_PYTHON"}
    for document in DOCUMENTS:
        named = set(re.findall(r"\bDEAL_[A-Z][A-Z_]*[A-Z]\b", document.text))
        assert named <= known, document.name


def test_the_site_shows_every_page() -> None:
    listed = set(re.findall(r": (\S+\.(?:md|ipynb))$", SITE.read_text(), flags=re.MULTILINE))
    pages = {str(document.path.relative_to(DOCS)) for document in DOCUMENTS if document.path != README}
    assert listed == pages


async def test_the_readme_shows_what_the_demo_shows(tmp_path: Path) -> None:
    picture = tmp_path / "demo.svg"
    shown = await run_program(["-m", "deal_sdk.cli", "demo", "--svg", str(picture)])
    lines = [" ".join(line.split()) for line in shown.splitlines()]
    excerpt = [
        line for block in README_BLOCKS if block.language == "console" for line in block.text.splitlines()
    ]
    assert excerpt[0] == "$ ./scripts/demo"
    for line in excerpt[1:]:
        pattern = re.escape(" ".join(line.split())).replace(re.escape("..."), r"\S+")
        # Where the machine stalls in the burst, the demo makes it again, with further payments.
        pattern = re.sub(r"^All\\ \d+", r"All\\ \\d+", pattern)
        assert [found for found in lines if re.fullmatch(pattern, found)] != [], line
    assert set(words_of(picture)) == set(words_of(DOCS / "demo.svg"))


def words_of(picture: Path) -> list[str]:
    """Return a picture's words, without those that every run has anew."""
    root = ElementTree.parse(picture).getroot()
    text = " ".join("".join(element.itertext()) for element in root.iter() if element.tag.endswith("}text"))
    # Signatures, addresses and waits; a cell that holds one may break at another place.
    return [word for word in text.split() if word.isalpha() and len(word) < MIN_SIGNATURE_LENGTH]


def test_the_picture_fetches_nothing() -> None:
    picture = (DOCS / "demo.svg").read_text(encoding="utf-8")
    assert re.findall(r"url\(.?https?:|@import|xlink:href|<script", picture) == []
