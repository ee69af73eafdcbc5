"""Threads that share a job: every piece is done once, errors arrive, and threads end with their crew."""

from __future__ import annotations

import gc
import os
import threading
import time
from collections.abc import Callable

import pytest

from recgym.crew import Crew


def ours() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == "recgym"}


def until(true: Callable[[], bool]) -> bool:
    """Whether something comes true within seconds."""
    for _ in range(500):
        if true():
            return True
        time.sleep(0.01)
    return False


@pytest.mark.parametrize("helpers", [0, 1, 5])
def test_every_piece_is_done_once_before_run_returns(helpers: int) -> None:
    crew = Crew(helpers)
    for job in range(300):
        done: list[tuple[int, str]] = []
        crew.run(lambda i, word, done=done: done.append((i, word)), [(i,) for i in range(job % 20)], ("given",))
        assert sorted(done) == [(i, "given") for i in range(job % 20)]
    crew.close()


def test_pieces_run_side_by_side() -> None:
    both = threading.Barrier(2, timeout=20)
    Crew(1).run(lambda _: both.wait(), [(0,), (1,)], ())


def test_a_caller_does_not_wait_for_helpers_that_have_not_begun() -> None:
    crew = Crew(1)
    (helper,) = crew._helpers
    done: list[int] = []
    with helper.busy:  # the thread is held up before it begins
        worker = threading.Thread(target=crew.run, args=(done.append, [(i,) for i in range(9)], ()))
        worker.start()
        assert until(lambda: done == [*range(9)])
    worker.join()


@pytest.mark.parametrize("bad", range(4))
def test_an_error_arrives_and_the_next_job_runs(bad: int) -> None:
    crew = Crew(2)

    def work(i: int) -> None:
        if i == bad:
            raise ValueError(f"piece {i}")
        time.sleep(0.001)

    for _ in range(5):
        with pytest.raises(ValueError, match=f"piece {bad}"):
            crew.run(work, [(i,) for i in range(4)], ())
    done: list[int] = []
    crew.run(done.append, [(1,), (2,)], ())
    assert sorted(done) == [1, 2]


def test_callers_may_share_a_crew() -> None:
    crew = Crew(2)
    results: list[list[int]] = [[] for _ in range(4)]

    def caller(mine: list[int]) -> None:
        for job in range(200):
            done: list[int] = []
            crew.run(lambda i, done=done: done.append(i), [(i,) for i in range(6)], ())
            assert sorted(done) == [*range(6)]
            mine.append(job)

    threads = [threading.Thread(target=caller, args=(mine,)) for mine in results]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [[*range(200)]] * 4


def test_threads_end_with_their_crew() -> None:
    before = ours()  # of other tests, which may end meanwhile
    closed, dropped = Crew(2), Crew(3)
    new = ours() - before
    assert len(new) == 5
    closed.close()
    del dropped
    gc.collect()
    assert until(lambda: not any(thread.is_alive() for thread in new))
    done: list[int] = []
    closed.run(done.append, [(1,), (2,)], ())
    assert done == [1, 2], "by the caller alone"


def test_a_job_is_forgotten_when_it_is_done() -> None:
    class Large:
        pass

    crew, large = Crew(1), Large()
    crew.run(lambda _, __: None, [(i,) for i in range(4)], (large,))
    gc.collect()
    assert until(lambda: len(gc.get_referrers(large)) <= 1)
    crew.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork_can_drop_the_crew_of_its_parent() -> None:
    crew = Crew(2)
    pid = os.fork()
    if pid == 0:
        crew.close()
        os._exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    crew.close()
