"""Requests to stop: the first is heard, a repeated SIGTERM changes nothing, time runs out."""

import os
import signal
import threading

import pytest

from resnet50.training.recovery.preemption import INTERRUPTED, OUT_OF_TIME, TERMINATED, StopRequest


@pytest.mark.parametrize(("sent", "reason"), [(signal.SIGTERM, TERMINATED), (signal.SIGINT, INTERRUPTED)])
def test_a_signal_is_a_request(sent: signal.Signals, reason: str, capsys: pytest.CaptureFixture[str]) -> None:
    stop = StopRequest()
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with stop.listening():
        assert stop.reason is None
        os.kill(os.getpid(), sent)
        assert stop.reason == reason
        assert signal.getsignal(signal.SIGINT) is signal.SIG_DFL  # the next Ctrl-C ends at once
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
    assert "writing a checkpoint" in " ".join(capsys.readouterr().err.split())


def test_repeated_sigterms_leave_time_for_the_checkpoint(capsys: pytest.CaptureFixture[str]) -> None:
    stop = StopRequest()
    with stop.listening():
        for _ in range(3):  # SLURM's to every process, and torchrun's to its own
            os.kill(os.getpid(), signal.SIGTERM)
        assert stop.reason == TERMINATED
    assert capsys.readouterr().err.count("SIGTERM") == 1


def test_the_reason_stays_the_first_one() -> None:
    stop = StopRequest()
    with stop.listening():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.reason == INTERRUPTED


def test_time_runs_out() -> None:
    assert StopRequest(0.0).reason == OUT_OF_TIME
    assert StopRequest(1000.0).reason is None


def test_a_thread_that_is_not_the_main_one_trains_without_signals() -> None:
    before = signal.getsignal(signal.SIGTERM)
    heard: list[object] = []

    def train() -> None:
        with StopRequest().listening():
            heard.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=train)
    thread.start()
    thread.join()
    assert heard == [before]
