#!/usr/bin/env python3
"""Runs every test and adds up: `./run check` is this script after a build.

Unit tests are the programs that Meson registered (cmocka, TAP); the rest is
pytest, read back from its JUnit file. A program that crashes, stops early,
takes too long or holds no test counts as failed, and so does a run of no tests
at all. The last line is "N passed, M failed, K skipped"; exit 1 if M > 0.
"""

import argparse
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

ROOT = pathlib.Path(__file__).resolve().parent.parent
PYTEST_SUITES = ["tests/parity", "tests/e2e", "tests/style"]
PYTEST_SECONDS = 900  # a limit for hangs; the whole check is to take < 600 s
N_SLOWEST = 10
MAX_LINES = 40  # of a failure's output


class Result(NamedTuple):
    name: str
    outcome: str  # "passed", "failed" or "skipped"
    seconds: float
    detail: str = ""


# ---- Unit tests -------------------------------------------------------------

TAP_LINE = re.compile(r"(not )?ok (\d+) (?:- )?(.*)")
TAP_PLAN = re.compile(r"1\.\.(\d+)$")
SKIP_REASON = re.compile(r"# skip: (.*)")


def parse_tap(program, output, seconds):
    """Results of one cmocka program's TAP output. cmocka writes a skipped test
    as "not ok 2 # SKIP name", CR_SKIP of tests/unit/skip.h its reason above
    that, and a failure's text comes after its line."""
    results, planned, reason = [], None, ""
    for line in output.splitlines():
        plan, test = TAP_PLAN.match(line), TAP_LINE.match(line)
        if plan:
            planned = int(plan[1])
        elif why := SKIP_REASON.match(line):
            reason = why[1]
        elif test and test[3].startswith("# SKIP"):
            name = test[3][len("# SKIP"):].strip()
            results.append(Result(f"{program}: {name}", "skipped", 0.0,
                                  reason or "no reason given"))
            reason = ""
        elif test:
            outcome = "failed" if test[1] else "passed"
            results.append(Result(f"{program}: {test[3]}", outcome, 0.0))
        elif line.startswith("#") and results \
                and results[-1].outcome == "failed":
            last = results[-1]
            results[-1] = last._replace(detail=last.detail + line + "\n")
    if planned is None or len(results) < planned or not results:
        results.append(Result(
            f"{program}: all of it", "failed", 0.0,
            f"{len(results)} of {planned or 'no'} planned tests reported\n"
            + tail(output)))
    # Only the program's time is known: see slowest_name().
    return [results[0]._replace(seconds=seconds)] + results[1:]


def exit_text(code):
    if code >= 0:
        return f"exit status {code}"
    return f"killed by {signal.Signals(-code).name}"


def tail(text):
    lines = text.splitlines()
    cut = [f"... {len(lines) - MAX_LINES} lines above ..."] \
        if len(lines) > MAX_LINES else []
    return "\n".join(cut + lines[-MAX_LINES:])


def run_unit_test(test, slower, wrapper, variables):
    environment = dict(os.environ, CMOCKA_MESSAGE_OUTPUT="TAP", **variables,
                       **test["env"])
    start = time.monotonic()
    try:
        done = subprocess.run(
            [*wrapper, *test["cmd"]], env=environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=ROOT,
            timeout=test["timeout"] * slower, text=True, errors="replace")
    except subprocess.TimeoutExpired as expired:
        output = (expired.stdout or b"").decode(errors="replace")
        return [Result(f"{test['name']}: all of it", "failed",
                       time.monotonic() - start,
                       f"took over {expired.timeout:.0f} s\n" + tail(output))]
    results = parse_tap(test["name"], done.stdout, time.monotonic() - start)
    if done.returncode != 0 and all(r.outcome != "failed" for r in results):
        results.append(Result(
            f"{test['name']}: exit", "failed", 0.0,
            exit_text(done.returncode) + "\n" + tail(done.stdout)))
    return results


def make_small_model(folder):
    """As deep as the shipped model, with its vocabulary, but 32 wide where that
    is 384: what the tests of scoring take where a CPU is emulated."""
    subprocess.run(
        [sys.executable, ROOT / "tools/make_tiny_model.py", folder,
         "--layers", "6", "--hidden", "32", "--positions", "512",
         "--vocab", ROOT / "models/crossrank-minilm-l6/vocab.txt"],
        check=True, stdout=subprocess.DEVNULL)
    return folder


def run_unit_tests(build, only, slower, jobs, wrapper):
    listed = json.loads((build / "meson-info/intro-tests.json").read_text())
    tests = [t for t in listed if re.search(only, t["name"])]
    with ThreadPoolExecutor(jobs) as pool, \
            tempfile.TemporaryDirectory() as folder:
        variables = {"CROSSRANK_TEST_MODEL": make_small_model(folder)} \
            if wrapper else {}
        futures = [pool.submit(run_unit_test, t, slower, wrapper, variables)
                   for t in tests]
        return [r for f in futures for r in f.result()]


# ---- pytest -----------------------------------------------------------------


def parse_junit(path):
    results = []
    for case in ElementTree.parse(path).iter("testcase"):
        module = case.get("classname", "").removeprefix("tests.")
        name = f"{module}: {case.get('name')}".lstrip(": ")
        seconds = float(case.get("time", 0))
        outcome, detail = "passed", ""
        for child in case:
            if child.tag in ("failure", "error"):
                outcome, detail = "failed", tail(child.text or "")
            elif child.tag == "skipped" and outcome != "failed":
                outcome, detail = "skipped", child.get("message", "")
                # Of a whole file pytest says so, and why only in the text.
                why = re.search(r"Skipped: (.*)['\"]\)", child.text or "")
                if detail == "collection skipped" and why:
                    detail = why[1]
        results.append(Result(name, outcome, seconds, detail))
    return results


def run_pytest(build, suites, slower, wrapper):
    suites = [s for s in suites if (ROOT / s.split("::")[0]).exists()]
    if not suites:
        return []
    junit = build / "check-pytest.xml"
    junit.unlink(missing_ok=True)
    environment = dict(os.environ, CROSSRANK_BUILD=str(build),
                       CROSSRANK_SLOWER=str(slower),
                       CROSSRANK_WRAPPER=" ".join(wrapper),
                       PYTHONDONTWRITEBYTECODE="1")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider",
               f"--junitxml={junit}", *suites]
    try:
        code = subprocess.run(command, env=environment, cwd=ROOT,
                              stdin=subprocess.DEVNULL, stdout=sys.stderr,
                              timeout=PYTEST_SECONDS * slower).returncode
    except subprocess.TimeoutExpired as expired:
        return [Result("pytest: all of it", "failed", expired.timeout,
                       f"took over {expired.timeout:.0f} s")]
    if not junit.exists():
        return [Result("pytest: all of it", "failed", 0.0,
                       f"{exit_text(code)} and no report")]
    results = parse_junit(junit)
    if code != 0 and all(r.outcome != "failed" for r in results):
        why = "no tests in " + " ".join(suites) if code == 5 \
            else exit_text(code)
        results.append(Result("pytest: exit", "failed", 0.0, why))
    return results


# ---- Summary ----------------------------------------------------------------


def slowest_name(result):
    """pytest's modules have dots and times of their own; a unit test program
    has one time for all of its tests."""
    program, _, name = result.name.partition(": ")
    return result.name if "." in program else f"{program} (whole program)"


def print_summary(results):
    timed = [r for r in results if r.seconds >= 0.1]
    print("\nSlowest:")
    for result in sorted(timed, key=lambda r: -r.seconds)[:N_SLOWEST]:
        print(f"  {result.seconds:7.2f} s  {slowest_name(result)}")
    reasons = {}
    for result in results:
        if result.outcome == "skipped":
            reasons.setdefault(result.detail, []).append(result.name)
    if reasons:
        print("\nSkipped:")
    for reason, names in reasons.items():
        print(f"  {reason}")
        for name in names:
            print(f"      {name}")
    failed = [r for r in results if r.outcome == "failed"]
    if failed:
        print("\nFailed:")
    for result in failed:
        detail = result.detail.strip().replace("\n", "\n      ")
        print(f"  {result.name}" + (f"\n      {detail}" if detail else ""))


def main():
    parser = argparse.ArgumentParser(
        description="Run the tests of a build folder and add up.")
    parser.add_argument("--build", type=pathlib.Path, default="build")
    parser.add_argument("--only", default="", metavar="REGEX",
                        help="unit tests whose name matches")
    parser.add_argument("--slower", type=float, default=1.0, metavar="FACTOR",
                        help="stretch every time limit (sanitizers)")
    parser.add_argument("--jobs", type=int, default=2,
                        help="unit test programs at a time (default 2)")
    parser.add_argument("--wrapper", default="", metavar="COMMAND",
                        help="what runs the programs: an emulator")
    parser.add_argument("what", nargs="*", metavar="unit|PYTEST-PATH",
                        help="default: unit " + " ".join(PYTEST_SUITES))
    arguments = parser.parse_args()
    build = arguments.build.resolve()
    what = arguments.what or ["unit", *PYTEST_SUITES]

    start = time.monotonic()
    results = []
    if "unit" in what:
        results += run_unit_tests(build, arguments.only, arguments.slower,
                                  arguments.jobs, arguments.wrapper.split())
    results += run_pytest(build, [w for w in what if w != "unit"],
                          arguments.slower, arguments.wrapper.split())

    print_summary(results)
    count = {o: sum(r.outcome == o for r in results)
             for o in ("passed", "failed", "skipped")}
    if not results:
        print("\nNo test ran, which counts as a failure.")
        count["failed"] = 1
    print(f"\nIn {time.monotonic() - start:.0f} s:")
    print(f"{count['passed']} passed, {count['failed']} failed, "
          f"{count['skipped']} skipped")
    return 1 if count["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
