"""In a process under test: pyACL's double in the place of pyACL. A test names this file as the process's hook."""

import sys

from common.test import om_double


def watch() -> None:
    sys.modules["acl"] = om_double.Acl()
