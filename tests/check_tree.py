#!/usr/bin/env python3
"""What documents and headers say of the tree is so, and includes go down only.

- Links in Markdown files lead somewhere; so do paths in backquotes that begin with a room's name.
- The reading order of ARCHITECTURE.md names what is there; its decisions are numbered from 1 without a gap.
- Its table of folders names each folder once: those of tests mirror the others, those of data are named as one.
- The examples at the top of headers call functions with as many arguments as they are declared with; their guards are their paths.
- A room includes headers of the rooms below it alone, a folder of the engine those of the rows below it in
  ARCHITECTURE.md, and no header includes itself by way of others. Every folder of sources is named there.
"""
import os
import re
import subprocess
import sys

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
ROOMS = {  # what each may include, besides itself; as in the link lines of CMakeLists.txt
    "proto": set(),
    "engine/prompt": {"proto"},
    "engine": {"engine/prompt", "proto"},
    "jobs": {"engine/prompt", "proto"},
    "monitoring": {"proto"},
    "coordinator": {"jobs", "monitoring", "proto"},
    "worker": {"engine", "engine/prompt", "jobs", "proto"},
    "jobs/cli": {"coordinator", "jobs", "engine/prompt", "proto"},
}
faults = []


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8", errors="replace") as file:
        return file.read()


def tracked():
    done = subprocess.run(["git", "-C", ROOT, "ls-files"], capture_output=True, text=True)
    if done.returncode == 0:
        return [f for f in done.stdout.split() if os.path.exists(os.path.join(ROOT, f))]
    return [os.path.relpath(os.path.join(folder, name), ROOT)  # a tree without git: a source package
            for folder, folders, names in os.walk(ROOT) for name in names
            if not os.path.relpath(folder, ROOT).startswith(("build", ".git"))]


def check_links(path, text, files, folders):
    here = os.path.dirname(path)
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
        if "://" not in target and not os.path.exists(os.path.join(ROOT, here, target)):
            faults.append(f"{path}: the link to {target} leads nowhere")
    for name in re.findall(r"`([\w./-]+)`", text):
        first = name.split("/")[0]
        if not first or first not in folders or not re.search(r"/.*(\.[a-z]+|/)$", name):
            continue
        if re.search(r"\b[A-Z]+/", name):  # a name to be filled in
            continue
        if name.rstrip("/") not in folders and name not in files and not name.startswith("build/"):
            faults.append(f"{path}: there is no {name}")


def reading_order(text, folders):
    """The paths of the table's first column: a name that begins with no room is in the folder before it."""
    table = text.split("## Reading order")[1].split("## Decisions")[0]
    for row in re.findall(r"^\| (`.*?) \|", table, re.M):
        folder = ""
        for name in re.findall(r"`([^`]+)`", row):
            if name.split("/")[0] in folders and "/" in name:
                folder = name.rsplit("/", 1)[0]
                yield name
            else:
                yield f"{folder}/{name}"


def check_architecture(files, folders):
    text = read("ARCHITECTURE.md")
    for name in reading_order(text, folders):
        if name.rstrip("/") not in folders and name not in files:
            faults.append(f"ARCHITECTURE.md: the reading order names {name}, which is not there")
    numbers = [int(n) for n in re.findall(r"^(\d+)\. \*\*", text.split("## Decisions")[1], re.M)]
    if numbers != list(range(1, len(numbers) + 1)):
        faults.append(f"ARCHITECTURE.md: decisions are numbered {numbers}")


DATA = ("engine/data/", "models/", "tests/golden/", "tests/fuzz/", "tests/gpusim/")  # named as a whole


def check_folders(files, folders):
    """What the table of folders and the engine's rows name is there; what is there is named by one of them."""
    text = read("ARCHITECTURE.md")
    table = text.split("| folder | holds |")[1].split("\n\n")[0]
    named = {name.rstrip("/") for row in re.findall(r"^\| (`.*?) \|", table, re.M)
             for name in re.findall(r"`([^`]+)`", row)}
    for name in named - folders:
        faults.append(f"ARCHITECTURE.md: the table of folders names {name}, which is not there")
    named |= set(engine_rows(text))
    for folder in {os.path.dirname(f) for f in files if "/" in f}:
        mirrored = folder[len("tests/"):] if folder.startswith("tests/") else folder
        if folder + "/" != next((d for d in DATA if folder.startswith(d)), folder + "/"):
            continue
        if not {folder, mirrored} & named and mirrored + ".c" not in files:
            faults.append(f"ARCHITECTURE.md: the table of folders does not name {folder}")


def arguments(text):
    """How many there are in text, which begins with the bracket; None: it does not close."""
    depth, n, empty = 0, 1, True
    for c in text:
        depth += (c in "([{") - (c in ")]}")
        if depth == 0:
            return 0 if empty else n
        n += c == "," and depth == 1
        empty = empty and (c in "( \n" and depth == 1)
    return None


def check_examples(files):
    headers = {f: read(f) for f in files if f.endswith(".h") and room(f)}
    declared = {}
    for text in headers.values():
        text = re.sub(r"/\*.*?\*/", "", text, flags=re.S)
        for call in re.finditer(r"^[a-z][^;{}=#]*?\b(\w+)(\([^;{}]*\)) *(?:__attr[^;]*)?;", text, re.M):
            listed = call.group(2)
            if "..." not in listed:
                declared[call.group(1)] = 0 if listed == "(void)" else arguments(listed)
    for path, text in headers.items():
        for comment in re.findall(r"/\*.*?\*/", text, re.S):
            for line in re.findall(r"^ \*( {5}.*)$", comment, re.M):
                for call in re.finditer(r"\b(\w+)\(", line):
                    n = arguments(line[call.end() - 1:])
                    if "..." not in line and n not in (None, declared.get(call.group(1), n)):
                        faults.append(f"{path}: the example calls {call.group(1)} with {n}, not "
                                      f"{declared[call.group(1)]}")


def check_guards(files):
    """A header's guard is its path, so that no two have the same one; the emulated device's are its own."""
    for path in files:
        guarded = path.endswith(".h") and re.search(r"^#ifndef (\w+_H)$", read(path), re.M)
        wanted = re.sub(r"\W", "_", path).upper()
        if guarded and guarded.group(1) != wanted and not path.startswith("tests/gpusim/"):
            faults.append(f"{path}: its guard is {guarded.group(1)}, not {wanted}")


def room(path):
    return max((r for r in ROOMS if path.startswith(r + "/")), key=len, default=None)


def engine_rows(text):
    """Folder to the number of its row, from the block of ARCHITECTURE.md that lists the engine's folders."""
    block = re.search(r"^Inside the engine.*?```\n(.*?)```", text, re.M | re.S).group(1)
    rows = {}
    for number, row in enumerate(block.splitlines()):
        for name in re.findall(r"(?<!\S)engine[\w/]*", re.split(r" {3,}(?!engine)", row.strip())[0]):
            rows[name] = number
    return rows


def check_engine(includes):
    """Rows are counted from the top: what a file includes is of a greater one, or of its own folder."""
    rows = engine_rows(read("ARCHITECTURE.md"))
    for path, named in includes.items():
        folder = os.path.dirname(path)
        if not folder.startswith("engine"):
            continue
        if folder not in rows:
            faults.append(f"{path}: ARCHITECTURE.md has no row for {folder}")
            continue
        for name in named:
            other = os.path.dirname(name)
            if other.startswith("engine") and other != folder and rows.get(other, 0) <= rows[folder]:
                faults.append(f"{path}: {name} is not of a row below {folder} in ARCHITECTURE.md")
    for folder in rows:
        if folder not in {os.path.dirname(path) for path in includes}:
            faults.append(f"ARCHITECTURE.md: the row of {folder} has no sources")


def check_includes(files):
    sources = [f for f in files if f.endswith((".c", ".h", ".cu")) and room(f)]
    includes = {}
    for path in sources:
        named = re.findall(r'^\s*#\s*include\s+"([^"]+)"', read(path), re.M)
        # Kernels are C++ on the emulated device where no nvcc compiles them.
        includes[path] = [name for name in named
                          if name in files and name != "tests/gpusim/gpusim.h"]
        for name in includes[path]:
            if room(name) not in ROOMS[room(path)] | {room(path)}:
                faults.append(f"{path}: {name} is of a room that {room(path)} does not use")
    check_engine(includes)
    state = {}

    def visit(path):
        state[path] = "open"
        for name in includes.get(path, ()):
            if state.get(name) == "open":
                faults.append(f"{path}: includes {name}, which includes it")
            elif name not in state:
                visit(name)
        state[path] = "done"

    for path in sources:
        if path not in state:
            visit(path)


def main():
    files = set(tracked())
    folders = {os.path.dirname(f) for f in files}
    for folder in list(folders):
        while folder:
            folders.add(folder)
            folder = os.path.dirname(folder)
    for path in sorted(files):
        if path.endswith(".md"):
            check_links(path, read(path), files, folders)
    check_architecture(files, folders)
    check_folders(files, folders)
    check_guards(files)
    check_includes(files)
    check_examples(files)
    for fault in faults:
        print(fault)
    return 1 if faults else 0


sys.exit(main())
