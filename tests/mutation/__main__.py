"""`python -m tests.mutation [--seconds N] [PATTERN ...]`: are planning and moves tested, or only run?

mutmut writes the mutants and finds out which tests reach which function. They are then judged in one
pytest session: a child is forked for each mutant, runs the tests of its function with the fastest first,
and stops at the first that fails. So no mutant pays for starting pytest, and the only limit is CPU time:
a busy machine makes nothing look killed. Results are kept where `mutmut results` and `mutmut show` look.
"""

from __future__ import annotations

import argparse
import fnmatch
import gc
import json
import math
import os
import random
import resource
import subprocess
import sys
import time
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path("mutants")
PROBE = "reconciler.moves.look.x_image__mutmut_1"
KILLED, SURVIVED, NO_TESTS, OUT_OF_TIME = 1, 0, 33, -24
CPU_S, CPU_FACTOR = 20, 10
WORDS = {KILLED: "killed", SURVIVED: "survived", NO_TESTS: "no tests", OUT_OF_TIME: "killed: no end"}


class Judge:
    """A pytest plugin that runs the collected tests once for each mutant."""

    def __init__(self, patterns: list[str], seconds: float, seed: int, again: bool) -> None:
        self.until_s = time.monotonic() + seconds
        self.metas = {
            path: json.loads(path.read_text()) for path in sorted(Path().glob("reconciler/**/*.meta"))
        }
        known = json.loads(Path("mutmut-stats.json").read_text())
        self.tests: dict[str, list[str]] = known["tests_by_mangled_function_name"]
        self.durations: dict[str, float] = known["duration_by_test"]
        self.killers: Counter[tuple[str, str]] = Counter()
        self.todo: list[tuple[Path, str]] = []
        for pattern in patterns:
            chosen = [one for one in self._chosen(pattern, again) if one not in self.todo]
            random.Random(seed).shuffle(chosen)
            self.todo += chosen

    def _chosen(self, pattern: str, again: bool) -> list[tuple[Path, str]]:
        return [
            (path, name)
            for path, meta in self.metas.items()
            for name, code in meta["exit_code_by_key"].items()
            if fnmatch.fnmatch(name, pattern)
            and (code is None or (again and code in (SURVIVED, NO_TESTS, OUT_OF_TIME)))
        ]

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        items = {item.nodeid: item for item in session.items}
        gc.freeze()
        for count, (path, name) in enumerate(self.todo, 1):
            if time.monotonic() > self.until_s:
                break
            function = name.rpartition("__mutmut_")[0]
            code = self._judge(name, function, [items[n] for n in self._tests(function) if n in items])
            self.metas[path]["exit_code_by_key"][name] = code
            if code != KILLED or count % 50 == 0:
                print(f"{count}/{len(self.todo)} {WORDS.get(code, code)} {name}", file=sys.stderr, flush=True)
            if count % 50 == 0:
                self._keep()
        self._keep()
        return True

    def _keep(self) -> None:
        for path, meta in self.metas.items():
            path.write_text(json.dumps(meta, indent=4))

    def _tests(self, function: str) -> list[str]:
        """Those that have killed most mutants of the function, then of its module, then the fastest."""
        module = function.partition(".x")[0]

        def key(name: str) -> tuple[int, int, float]:
            killed = self.killers[function, name], self.killers[module, name]
            return -killed[0], -killed[1], self.durations.get(name, 0.01)

        return sorted(self.tests.get(function, []), key=key)

    def _judge(self, name: str, function: str, items: list[pytest.Item]) -> int:
        if not items:
            return NO_TESTS
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            limit = math.ceil(CPU_S + CPU_FACTOR * sum(self.durations.get(i.nodeid, 1.0) for i in items))
            resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 1))
            try:
                os._exit(_run(name, items, writer))
            finally:
                os._exit(KILLED)
        os.close(writer)
        with os.fdopen(reader) as report:
            killer = report.read()
        for part in (function, function.partition(".x")[0]):
            self.killers[part, killer] += 1
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        return KILLED if code > 0 else code


def _run(name: str, items: list[pytest.Item], report: int) -> int:
    from _pytest.runner import runtestprotocol
    from mutmut.mutation.trampoline import set_mutant_under_test

    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1)
    os.dup2(nothing, 2)
    set_mutant_under_test(name)
    if "ǁ__init____" in name:  # steps are made when their module is imported: that takes a new process
        os.execv(sys.executable, [sys.executable, "-m", "pytest", "-x", "-q", *_options()])
    for item in items:
        if any(done.failed for done in runtestprotocol(item, log=False)):
            os.write(report, item.nodeid.encode())
            return KILLED
    return SURVIVED


def _options() -> Iterator[str]:
    config: dict[str, Any] = tomllib.loads(Path("pyproject.toml").read_text())["tool"]["mutmut"]
    yield from config["pytest_add_cli_args_test_selection"]
    yield from config["pytest_add_cli_args"]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation")
    parser.add_argument("patterns", nargs="*", default=["*"], help="names of mutants, in this order")
    parser.add_argument("--seconds", type=float, default=math.inf, help="begin no mutant after that")
    parser.add_argument("--seed", type=int, default=0, help="of the order in which mutants are taken")
    parser.add_argument("--again", action="store_true", help="judge those anew that were not plainly killed")
    given = parser.parse_args()
    # For the mutants and the map of tests; it also proves that the tests pass, and that they can fail.
    made = [sys.executable, "-m", "mutmut", "run", "--max-children", "1", PROBE]
    subprocess.run(made, check=True, stdout=subprocess.DEVNULL)
    os.chdir(FOLDER)
    sys.path.insert(0, str(Path.cwd()))
    for name in [name for name in sys.modules if name.split(".")[0] in ("reconciler", "tests")]:
        del sys.modules[name]
    judge = Judge(given.patterns, given.seconds, given.seed, given.again)
    status = pytest.main(["--rootdir=.", "-q", *_options()], plugins=[judge])
    found: Counter[str] = Counter()
    for path, meta in judge.metas.items():
        codes = Counter(WORDS.get(code, "not judged") for code in meta["exit_code_by_key"].values())
        print(f"{path.with_suffix('')}: {dict(sorted(codes.items()))}")
        found += codes
    killed = found["killed"] + found["killed: no end"]
    judged = sum(found.values()) - found["not judged"]
    print(f"{sum(found.values())} mutants, {judged} judged, {killed} killed: {killed / max(judged, 1):.1%}")
    return int(status)


if __name__ == "__main__":
    sys.exit(main())
