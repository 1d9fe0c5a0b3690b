#!/usr/bin/python3
"""The benches at toy size, to see that they work: no time is a verdict. Argument: the folder of the programs."""
import json
import subprocess
import sys


def report(name, *args):
    done = subprocess.run(["%s/%s" % (sys.argv[1], name), "--quick", "--json", *args], check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout)


def check(what, *values):
    if not all(values):
        sys.exit("%s: %r" % (what, values))


engine = report("bench_engine", "--size", "64", "--steps", "2", "--precision", "auto")
check("machine", engine["peak_gflops"] > 0, engine["copy_gbytes"] > 0, engine["load_ms"] > 0, engine["peak_mib"] > 0)
parts = {part["part"]: part for part in engine["parts"]}
check("parts", list(parts) == ["text", "context", "step", "vae", "picture"])
for part in parts.values():
    ops = part["ops"]
    check(part["part"], part["ms"] > 0, part["gflop"] > 0, len(ops) > 1)
    check("operations of " + part["part"], all(op["calls"] > 0 and op["ms"] >= 0 and op["gbyte"] > 0 for op in ops),
          abs(sum(op["gflop"] for op in ops) - part["gflop"]) <= 0.01 * part["gflop"])
# A picture is two steps and what it needs once.
check("a picture's work", 2 * parts["step"]["gflop"] + parts["vae"]["gflop"] <= parts["picture"]["gflop"])
check("--only", [part["part"] for part in report("bench_engine", "--size", "64", "--only", "vae")["parts"]] == ["vae"])
ops = report("bench_ops", "--only", "linear")
check("bench_ops", ops["cases"], all(case["op"] == "linear" and case["gflops"] > 0 for case in ops["cases"]))
