"""What importing costs, and that the public names are there."""

import subprocess
import sys

import tomopy_ganrec


def test_public_names():
    for name in tomopy_ganrec.__all__:
        assert getattr(tomopy_ganrec, name) is not None
    assert callable(tomopy_ganrec.ganrec) and callable(tomopy_ganrec.recon)
    assert set(tomopy_ganrec.__all__) == set(dir(tomopy_ganrec))


def test_import_is_light():
    code = "import sys, tomopy_ganrec; tomopy_ganrec.GanrecOptions; print([m for m in ('torch', 'scipy', 'astra', 'h5py') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
