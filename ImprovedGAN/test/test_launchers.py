"""Which schedule each launcher, job entry and boot file starts: a stand-in for Python prints its command."""

from conftest import MODEL

from common.testing import check_entry, check_launchers

FULL = ["--train_steps=45000", "--evaluate=True"]
SHORT = ["--train_steps=500", "--evaluate=False"]


def test_launchers(tmp_path):
    check_launchers(tmp_path, MODEL, FULL, SHORT)
    check_entry(tmp_path, MODEL / "trainer.py", FULL)
