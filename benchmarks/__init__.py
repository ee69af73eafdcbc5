"""The harness: suites of jobs, resumable runs, statistics and reports. `python -m benchmarks --help` starts here."""

import os

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def limit_threads() -> None:
    """One thread for torch and BLAS in this process and those it starts, unless the user says otherwise.

    The libraries read this when they are loaded, so call it before importing numpy. Jobs run side by side, one a
    processor; and a fixed number of threads gives the same sums, so the same results, whatever the number of workers.
    """
    for name in THREAD_VARIABLES:
        os.environ.setdefault(name, "1")
