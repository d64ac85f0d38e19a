"""The process in which one target is fuzzed. Imports the project only once atheris is there to watch it."""

from __future__ import annotations

import sys

import atheris


def main() -> None:
    """Never returns: libFuzzer ends the process, with 0 when nothing was found."""
    name, seconds, folder, found = sys.argv[1:]
    with atheris.instrument_imports(include=["reconciler", "yaml"]):
        from tests.fuzz import targets
    options = {"max_total_time": seconds, "timeout": 30, "max_len": 16384, "rss_limit_mb": 3000}
    argv = [f"-{key}={value}" for key, value in options.items()]
    target = targets.mix if name == "mix" else targets.TARGETS[name]
    atheris.Setup([sys.argv[0], *argv, f"-artifact_prefix={found}", "-print_final_stats=1", folder], target)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
