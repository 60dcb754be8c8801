"""Where pytest runs the notebooks (``pytest --nbmake notebooks``), they run small."""

import os

os.environ.setdefault("GANREC_NOTEBOOK_SIZE", "quick")
os.environ.setdefault("OMP_NUM_THREADS", "1")
