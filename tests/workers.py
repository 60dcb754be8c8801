"""Prints how many processes of tests the free cores bear, with OMP_NUM_THREADS threads each: 1 to 4."""

import os

cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
print(min(4, max(1, cores // int(os.environ.get("OMP_NUM_THREADS", "1")))))  # noqa: T201
