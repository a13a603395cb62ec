"""Starts training processes for the tests: imports train.py once, then forks a process for each order on its stdin.

An order is a line of JSON: {"flags": [...], "log": file, "largest_file": bytes or null}; the answer is the process's
number. {"wait": number} is answered by its exit status when it has ended.
"""

import json
import os
import resource
import sys

import conftest  # noqa: F401  (the path)
import train

print("ready", flush=True)
for line in sys.stdin:
    order = json.loads(line)
    if "wait" in order:
        _, status = os.waitpid(order["wait"], 0)
        print(-os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status), flush=True)
        continue
    process = os.fork()
    if process == 0:
        log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(log, 1)
        os.dup2(log, 2)
        if order["largest_file"]:
            resource.setrlimit(resource.RLIMIT_FSIZE, (order["largest_file"], resource.RLIM_INFINITY))
        sys.exit(train.main(order["flags"]))
    print(process, flush=True)
