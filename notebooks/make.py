"""Makes the notebooks from their scripts: runs them, and keeps the outputs.

    python notebooks/make.py [NAME ...]

The script ``NAME.py`` (percent format) is what is edited; ``NAME.ipynb`` is what is read. ``GANREC_NOTEBOOK_SIZE`` says how much they compute.
"""

import sys
import tempfile
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).resolve().parent
LIMIT = 2_000_000  # bytes of one notebook
LONGEST = 24 * 3600  # seconds of one cell


def make(name: str) -> Path:
    """Run one notebook and write it; returns its path."""
    notebook = jupytext.read(FOLDER / f"{name}.py")
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    where = {"metadata": {"path": str(FOLDER)}}
    NotebookClient(notebook, timeout=LONGEST, kernel_name="python3", coalesce_streams=True, resources=where).execute()
    notebook.metadata.pop("widgets", None)
    for k, cell in enumerate(notebook.cells):
        cell.metadata = {}  # times of execution, and nothing else
        cell.id = f"{name.replace('_', '-')}-{k}"
    text = nbformat.writes(notebook) + "\n"
    for private in (str(FOLDER.parent), tempfile.gettempdir() + "/", str(Path.home()) + "/", sys.prefix):
        if private in text:
            raise SystemExit(f"{name}: its output shows the path {private} of this machine")
    if len(text.encode()) > LIMIT:
        raise SystemExit(f"{name}: {len(text.encode()) / 1e6:.1f} MB are more than {LIMIT / 1e6:.0f}")
    path = FOLDER / f"{name}.ipynb"
    path.write_text(text)
    return path


def main():
    names = sys.argv[1:] or sorted(path.stem for path in FOLDER.glob("*.py") if path.stem not in ("make", "conftest"))
    for name in names:
        path = make(name)
        print(f"wrote {path.relative_to(FOLDER.parent)}, {path.stat().st_size / 1e3:.0f} kB", flush=True)


if __name__ == "__main__":
    main()
