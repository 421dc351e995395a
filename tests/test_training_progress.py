"""The progress line: in the log always, live on a terminal only."""

import io
import logging

from pipeline.training.progress import Progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def run(progress, groups=2, epochs=3):
    for _ in range(groups):
        for epoch in range(epochs + 1):
            progress(epoch, 0.5 - 0.1 * epoch)


def test_a_log_gets_first_and_last_epoch_of_each_group(caplog):
    stream = io.StringIO()
    with caplog.at_level(logging.INFO):
        run(Progress("main", 2, 3, terminal=stream))
    assert len(caplog.messages) == 4
    assert "group 1 of 2, epoch 0 of 3" in caplog.messages[0]
    assert "group 2 of 2, epoch 3 of 3, training error 0.2000, 0 s left" in caplog.messages[3]
    assert stream.getvalue() == ""


def test_a_terminal_gets_one_line_that_is_rewritten():
    stream = Terminal()
    run(Progress("main", 2, 3, terminal=stream))
    assert stream.getvalue().count("\n") == 1
    assert stream.getvalue().count("\r") >= 4


def test_finished_groups_are_skipped():
    stream = Terminal()
    progress = Progress("main", 2, 3, terminal=stream)
    progress.skip()
    run(progress, groups=1)
    assert "group 2 of 2" in stream.getvalue()
    assert stream.getvalue().endswith("\n")
