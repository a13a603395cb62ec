"""In a training process under test: waits at the end of step PAUSE_AT, before it counts, for a signal to come.

A test names this file as the process's hook (see common/test/testing.py).
"""

import os
import time


def watch() -> None:
    from common.run import Run

    end_step = Run.end_step

    def paused_end(run, metrics):
        if run.step + 1 == int(os.environ["PAUSE_AT"]):
            print("paused", flush=True)
            while not run.session.asked_to_stop:
                time.sleep(0.001)
        end_step(run, metrics)

    Run.end_step = paused_end
