#!/usr/bin/python3
"""Takes each barrier out of the CUDA kernels in turn, and sees whether the tests notice.

    barriers.py [-b build/dev] [-s seeds] [file.cu[:line]]...

A barrier is a __syncthreads(), a __syncwarp() or a wait for asynchronous copies. For each one the
kernels are built without it for the emulated device (tests/gpusim), and the comparison of every op
(or step of a sampler) with the reference runs in as many orders of threads as there are seeds, until
one fails. The build folder must hold test_engine_ops_cuda_ops and _step. Ends with 1 if a barrier is not missed: then it is one too
many, or a shape that needs it is not in tests/engine/op_case.h.

About 20 seconds a barrier, so it is run by hand when kernels change.
"""
import argparse
import os
import re
import shlex
import subprocess
import sys
import tempfile

SOURCE = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..", "..", ".."))
KERNELS = os.path.join(SOURCE, "engine", "ops", "cuda")
BARRIER = re.compile(r"__syncthreads\(\)|__syncwarp\(\)|__pipeline_wait_prior\(\w+\)")
OPS = ("ops", "every_op_equals_the_reference_within_its_tolerance")
TESTS = {"step.cu": ("step", None)}  # program and the one test of it; others: OPS


def without_comments(text):
    """The same length, so that places stay."""
    return re.sub(r"/\*.*?\*/|//[^\n]*", lambda m: re.sub(r"[^\n]", " ", m[0]), text, flags=re.S)


def barriers(path):
    """(line, start, end) of each."""
    text = without_comments(open(path, encoding="utf-8").read())
    for match in BARRIER.finditer(text):
        yield text.count("\n", 0, match.start()) + 1, match.start(), match.end()


def commands(build):
    """How ninja makes the module: {source: command}, and the link's command."""
    out = subprocess.run(["ninja", "-C", build, "-t", "commands", "litho-cuda-sim"], check=True,
                         capture_output=True, text=True).stdout.splitlines()
    compile_of = {}
    for line in out:
        words = shlex.split(line)
        if "-c" in words and words[-1].endswith(".cu"):
            compile_of[words[-1]] = words
    return compile_of, out[-1]


def build_without(build, path, start, end, folder, made):
    """The module without the barrier."""
    compile_of, link = made
    text = open(path, encoding="utf-8").read()
    mutant = os.path.join(folder, os.path.basename(path))
    with open(mutant, "w", encoding="utf-8") as f:
        f.write(text[:start] + "(void)0" + text[end:])
    words = [w for w in compile_of[path] if "sanitize" not in w]  # they find other faults
    plain = words[words.index("-o") + 1]
    target, module = os.path.join(folder, "mutant.o"), os.path.join(folder, "module-sim.so")
    for option, value in (("-o", target), ("-c", mutant), ("-MF", target + ".d"), ("-MT", target)):
        words[words.index(option) + 1] = value
    subprocess.run(words, cwd=build, check=True)
    link = link.replace(plain, target)
    link = re.sub(r"-o \S+", "-o " + module, link, count=1)
    subprocess.run(link, cwd=build, shell=True, check=True)
    return module


def missed(build, module, seeds, test):
    """The seed whose order of threads makes a test fail; 0: none."""
    for seed in range(1, seeds + 1):
        env = dict(os.environ, LITHO_CUDA_MODULE=module, GPUSIM_SEED=str(seed),
                   ASAN_OPTIONS="detect_leaks=0")
        if test[1]:
            env["TEST_FILTER"] = test[1]
        done = subprocess.run([os.path.join(build, "bin", "test_engine_ops_cuda_" + test[0])],
                              env=env, stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL, timeout=600)
        if done.returncode != 0:
            return seed
    return 0


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("-b", "--build", default=os.path.join(SOURCE, "build", "dev"))
    parser.add_argument("-s", "--seeds", type=int, default=3)
    parser.add_argument("files", nargs="*", help="attention.cu, or attention.cu:210")
    options = parser.parse_args()
    build = os.path.abspath(options.build)
    made = commands(build)
    names = options.files or sorted(n for n in os.listdir(KERNELS) if n.endswith(".cu"))
    unseen = 0
    for name in names:
        name, _, only = name.partition(":")
        path = os.path.join(KERNELS, name)
        for line, start, end in barriers(path):
            if only and line != int(only):
                continue
            with tempfile.TemporaryDirectory() as folder:
                seed = missed(build, build_without(build, path, start, end, folder, made),
                              options.seeds, TESTS.get(name, OPS))
            text = open(path, encoding="utf-8").read()[start:end]
            print("%-14s %4d  %-26s %s" % (name, line, text,
                                           "missed by seed %d" % seed if seed else "NOT MISSED"),
                  flush=True)
            unseen += not seed
    return 1 if unseen else 0


if __name__ == "__main__":
    sys.exit(main())
