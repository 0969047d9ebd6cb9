"""Each notebook runs from top to bottom in a kernel of its own, and is stored without what it made."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from tests.docs.documents import DOCS
from tests.docs.running import program_environment

NOTEBOOKS = sorted((DOCS / "notebooks").glob("*.ipynb"))
EACH = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
CELL_TIMEOUT_SECONDS = 120


def read_notebook(path: Path) -> Any:
    return nbformat.read(path, as_version=nbformat.NO_CONVERT)  # type: ignore[no-untyped-call]


@pytest.fixture
def kernel_of_this_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Describe a kernel that is this very Python, whatever kernels the machine knows of."""
    folder = tmp_path / "jupyter/kernels/deal-docs"
    folder.mkdir(parents=True)
    description = {
        "argv": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
        "display_name": "Python of the test",
        "language": "python",
        "env": {"PYTHONPATH": program_environment()["PYTHONPATH"]},
    }
    (folder / "kernel.json").write_text(json.dumps(description), encoding="utf-8")
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    # Nothing of the user's own profile is read or written.
    for variable in ("JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR", "MPLCONFIGDIR"):
        monkeypatch.setenv(variable, str(tmp_path / variable.lower()))
    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")
    monkeypatch.delenv("MPLBACKEND", raising=False)
    return "deal-docs"


def test_there_are_notebooks() -> None:
    assert [path.stem for path in NOTEBOOKS] == ["explore", "limits"]


@EACH
async def test_it_runs_and_draws(path: Path, kernel_of_this_python: str, tmp_path: Path) -> None:
    notebook = read_notebook(path)
    client = NotebookClient(
        notebook,
        kernel_name=kernel_of_this_python,
        timeout=CELL_TIMEOUT_SECONDS,
        resources={"metadata": {"path": str(tmp_path)}},
    )
    await client.async_execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert [output for output in outputs if output.output_type == "error"] == []
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert any("checks hold" in output.get("text", "") for output in outputs)


@EACH
def test_it_is_stored_bare(path: Path) -> None:
    notebook: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert len(code) > 3
    assert [cell for cell in code if cell["outputs"] or cell["execution_count"] is not None] == []
    assert all(cell["metadata"] == {} for cell in notebook["cells"])
    assert set(notebook["metadata"]) == {"kernelspec", "language_info"}
    assert notebook["metadata"]["kernelspec"]["name"] == "python3"


@EACH
def test_it_is_a_valid_notebook(path: Path) -> None:
    nbformat.validate(read_notebook(path))
