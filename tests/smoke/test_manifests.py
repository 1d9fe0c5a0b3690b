#!/usr/bin/python3
"""`litho plan` on right and wrong manifests; the examples are right."""
import json
import os
import re
import subprocess
import time

from programs import (BIN, SMALL, SOURCE, Case, environment, index_lines, main, pictures,
                      png_texts)

EXAMPLES = os.path.join(SOURCE, "jobs", "examples")

# name, change (what, by what), place of the mistake, words of the message
MISTAKES = [
    ("broken YAML", ("axes:", "axes: ["), r"bad\.yaml:\d+:\d+: ", ""),
    ("unknown key", ("prompt:", "promt: x\nprompt:"), r"bad\.yaml:5:1: ", "did you mean 'prompt'"),
    ("unknown parameter", ("steps: 2", "stesp: 2"), r"bad\.yaml:4:\d+: ", "did you mean 'steps'"),
    ("unknown sampler", ("sampler: euler", "sampler: eular"), r"bad\.yaml:4:\d+: ",
     "did you mean 'euler'"),
    ("wrong size", ("64x64", "64x63"), r"bad\.yaml:4:\d+: ", "multiple of 8"),
    ("steps out of bounds", ("steps: 2", "steps: 0"), r"bad\.yaml:4:\d+: ", "steps"),
    ("unknown variable", ("${ground} background", "${gruond} background"), r"bad\.yaml:5:\d+: ",
     "gruond"),
    ("empty axis", ("[teal, pink]", "[]"), r"bad\.yaml:8:\d+: ", "ground"),
    ("missing list file", ("[teal, pink]", "{file: nowhere.txt}"), r"bad\.yaml:8:\d+: ",
     "nowhere.txt"),
    ("zip of unequal lengths", ("output:", 'combine: "(thing, ground)"\noutput:'),
     r"bad\.yaml:9:\d+: ", "ground"),
    ("exclude names an unknown axis", ("output:", "exclude: [{thign: fox}]\noutput:"),
     r"bad\.yaml:9:\d+: ", "thign"),
    ("paths that collide", ("{thing}-{ground}", "{thing}"), r"bad\.yaml:9:\d+: ", "ground"),
    ("path out of the folder", ("{job}/", "../{job}/"), r"bad\.yaml:9:\d+: ", ""),
    ("ddim with karras", ("sampler: euler", "sampler: ddim, scheduler: karras"),
     r"bad\.yaml:\d+:\d+: ", "karras"),
    ("other language version", ("litho: 1", "litho: 2"), r"bad\.yaml:1:\d+: ", "language"),
    ("not a mapping", (SMALL, "- a\n- b\n"), r"bad\.yaml:1:1: ", "mapping"),
    ("empty file", (SMALL, ""), r"bad\.yaml:1:1: ", "empty"),
]


class Manifests(Case):
    def test_each_mistake_has_its_place_and_exit_code_2(self):
        for name, (what, by), place, words in MISTAKES:
            with self.subTest(name):
                self.assertIn(what, SMALL)
                path = self.write("bad.yaml", SMALL.replace(what, by, 1))
                for command in (["plan"], ["run", "--out", "never"],
                                ["submit", "--connect", "ipc:///nonexistent"]):
                    done = self.litho(command[0], path, *command[1:], expect=2)
                    self.assertRegex(done.stderr, place)
                    self.assertIn(words, done.stderr)
                    self.assertEqual(done.stdout, "")
                self.assertFalse(os.path.exists(self.path("never")))

    def test_all_mistakes_come_in_one_go(self):
        bad = SMALL.replace("steps: 2", "steps: 0").replace("[teal, pink]", "[]") \
                   .replace("prompt:", "promt:")
        path = self.write("bad.yaml", bad)
        done = self.litho("plan", path, expect=2)
        for line in (4, 5, 8):
            self.assertRegex(done.stderr, r"(?m)^\S*bad\.yaml:%d:\d+: " % line)
        document = self.litho_json("plan", path, expect=2)[0]
        places = [(m["line"], m["column"]) for m in document["mistakes"]]
        self.assertTrue({4, 5, 8} <= {line for line, _ in places}, places)

    def test_missing_manifest_is_named(self):
        self.assertIn("nowhere.yaml", self.litho("plan", "nowhere.yaml", expect=2).stderr)

    def test_override_with_a_mistake_is_named(self):
        path = self.write("small.yaml", SMALL)
        self.assertIn("--set stesp=3", self.litho("plan", path, "--set", "stesp=3",
                                                  expect=2).stderr)


class Plans(Case):
    def test_plan_tells_what_a_run_does_and_renders_nothing(self):
        path = self.write("small.yaml", SMALL)
        before = self.litho_json("plan", path)[0]
        self.assertEqual((before["tasks"], before["excluded"], before["rendered"]), (6, 0, 0))
        self.assertEqual([(a["name"], a["length"]) for a in before["axes"]],
                         [("thing", 3), ("ground", 2)])
        self.assertEqual(before["first"]["path"], "small/fox-teal.png")
        self.assertEqual(before["last"]["path"], "small/owl-pink.png")
        self.assertEqual(before["last"]["task"]["prompt"], "a owl on a pink background")
        self.assertIsNone(before["seconds"])
        text = self.litho("plan", path).stdout
        self.assertIn("unknown until the first run", text)
        self.assertIn("seed 5, precision auto\n", text)
        self.assertFalse(os.path.exists(self.path("out")))

        final = self.litho_json("run", path, "--set", "axes.thing=[fox, pizza]")[-1]
        self.assertEqual(final["tasks"], 4)
        self.litho("run", path)
        after = self.litho_json("plan", path)[0]
        self.assertEqual(after["job"], before["job"])
        self.assertEqual(after["rendered"], 6)
        self.assertEqual(after["seconds"], 0)
        size = sum(os.path.getsize(self.path("out", name)) for name in pictures(self.path("out"))
                   if not name.endswith("sheet.png"))
        self.assertLess(abs(after["bytes"] - size), 0.5 * size)
        self.assertIn("6 of 6 images", self.litho("plan", path).stdout)
        more = self.litho_json("plan", path, "--set", "steps=4")[0]
        self.assertEqual(more["rendered"], 0)
        self.assertGreater(more["seconds"], 0)

    def test_missing_model_is_said_with_the_places(self):
        path = self.write("small.yaml", SMALL.replace("sticker-128", "no-such-model"))
        done = self.litho("plan", path, expect=1)
        self.assertRegex(done.stdout, r"missing:.*no-such-model.* in /")
        self.assertEqual(self.litho_json("plan", path, expect=1)[0]["models"],
                         [{"model": "no-such-model", "folder": None}])

    def test_hundred_million_tasks_plan_at_once(self):
        path = self.write("huge.yaml", """\
litho: 1
job: huge
model: sticker-128
defaults: {steps: 20, size: 512x512}
prompt: a ${thing}
axes:
  thing: [fox, pizza]
  cfg_scale: 1-10
  seed: 1-5000000
exclude: [{thing: pizza, cfg_scale: 10}]
output: {path: "{job}/{thing}/{cfg_scale}/{seed}.png", sheet: {x: cfg_scale, y: thing}}
""")
        start = time.monotonic()
        plan = self.litho_json("plan", path)[0]
        self.assertLess(time.monotonic() - start, 10)  # the sanitized program's start included
        self.assertEqual(plan["tasks"], 95000000)
        self.assertEqual(plan["excluded"], 5000000)
        self.assertEqual(plan["last"]["path"], "huge/pizza/9/5000000.png")

    def peak(self, *args):
        """Largest resident memory of a command, in bytes."""
        with open(os.devnull, "wb") as nothing:
            child = subprocess.Popen([os.path.join(BIN, "litho"), *args], env=environment(),
                                     cwd=self.folder, stdout=nothing)
        _, status, usage = os.wait4(child.pid, 0)
        child.returncode = os.waitstatus_to_exitcode(status)
        self.assertEqual(child.returncode, 0)
        return usage.ru_maxrss * 1024

    def test_memory_of_a_plan_does_not_grow_with_the_tasks(self):
        text = """\
litho: 1
job: huge
model: sticker-128
prompt: a fox
axes: {steps: 1-100, seed: 1-%d}
output: {path: "{job}/{index}.png"}
"""
        few = self.peak("plan", self.write("few.yaml", text % 1))
        many = self.peak("plan", self.write("many.yaml", text % 1000000))
        self.assertLess(many - few, 4 << 20)


class Values(Case):
    """What may stand in an axis: anything that is text."""

    def test_unicode_slashes_and_quoted_csv_become_distinct_files(self):
        with open(self.path("things.csv"), "wb") as file:
            file.write('\ufeffthing,note\r\n"a ""fox""","two\r\nlines"\r\nöwl 🦉,x/y\r\n'
                       '"pizza, hot",..\r\n'.encode("utf-8"))
        job = self.write("values.yaml", """\
litho: 1
job: values
model: sticker-128
defaults: {size: 64x64, steps: 1, sampler: euler, cfg_scale: 1, seed: 5}
prompt: "${thing}: ${note} on a ${ground} background"
axes:
  thing: {csv: things.csv}
  ground: [té/al, "pink 🎀", CON, "..", " lead"]
output: {path: "{job}/{thing}-{ground}.png", sheet: {x: ground, y: thing}}
""")
        out = self.path("a folder", "with ünïcode 🦊")
        self.litho("run", job, "--out", out, "--workers", "4")
        found = os.listdir(os.path.join(out, "values"))
        self.assertEqual(len([name for name in found if name.endswith(".png")]), 16)
        for name in ("öwl 🦉-té_al.png", "a _fox_-pink 🎀.png", "pizza, hot-CON_.png"):
            self.assertIn(name, found)
        lines = {line["index"]: line for line in
                 index_lines(os.path.join(out, "values", "index.jsonl"))}
        self.assertEqual([lines[i]["values"]["ground"] for i in range(5)],
                         ["té/al", "pink 🎀", "CON", "..", " lead"])
        self.assertEqual(lines[0]["values"]["thing"], 'a "fox", two\r\nlines')
        text = png_texts(os.path.join(out, lines[0]["path"]))["litho"]
        self.assertEqual(json.loads(text)["task"]["prompt"],
                         'a "fox": two\r\nlines on a té/al background')
        again = self.litho("run", job, "--out", out)
        self.assertIn("nothing to do", again.stdout)


class Documents(Case):
    def test_manifests_of_the_documents_are_accepted_without_a_warning(self):
        self.write("grounds.txt", "red\nyellow\n")
        for name, count in (("README.md", 1), ("jobs/SPEC.md", 1)):
            with open(os.path.join(SOURCE, name), encoding="utf-8") as file:
                found = re.findall(r"```yaml\n(litho: 1.*?)```", file.read(), re.S)
            self.assertGreaterEqual(len(found), count, name)
            for text in found:
                done = self.litho("plan", self.write("documented.yaml", text))
                self.assertEqual(done.stderr, "", name)


class Examples(Case):
    """Each example is planned whole, and rendered with fewer steps and values."""

    def example(self, name, tasks, rendered, *sets):
        path = os.path.join(EXAMPLES, name + ".yaml")
        plan = self.litho_json("plan", path)[0]
        self.assertEqual(plan["tasks"], tasks)
        self.assertIsNotNone(plan["models"][0]["folder"])
        options = [word for change in sets for word in ("--set", change)]
        final = self.litho_json("run", path, *options)[-1]
        self.assertEqual((final["state"], final["done"]), ("done", rendered))
        self.assertEqual(len(index_lines(final["index"])), rendered)
        self.assertTrue(os.path.isfile(final["sheet"]))

    def test_stickers(self):
        self.example("stickers", 30, 4, "steps=1", "size=64x64", "axes.thing=[fox, cat]",
                     "axes.ground=[teal, pink]")

    def test_seeds(self):
        self.example("seeds", 32, 8, "steps=1", "size=64x64", "seed=1-2")

    def test_parameters(self):
        self.example("parameters", 60, 6, "size=64x64", "steps=[1, 2]", "cfg_scale=[3]",
                     "exclude=[{sampler: euler_a, steps: 1}, {thing: sunflower}]")

    def test_products(self):
        self.example("products", 64, 32, "steps=1", "size=64x64", "seed=3")

    def test_styles(self):
        self.example("styles", 15, 4, "steps=1", "size=64x64", "axes.thing=[fox, cat]",
                     "axes.styles=[None, 'pixel, night']")

    def test_prompts(self):
        self.example("prompts", 15, 5, "steps=4", "size=64x64", "seed=1")

    def test_img2img(self):
        self.example("img2img", 12, 4, "steps=4", "size=64x64", "axes.thing=[fox, cat]",
                     "denoising_strength=[0.3, 1]")

    def test_inpaint(self):
        self.example("inpaint", 6, 3, "steps=2", "size=64x64", "seed=1")

    def test_hires(self):
        self.example("hires", 8, 2, "steps=2", "size=64x64", "axes.thing=[fox]",
                     "axes.hr_scale=[1.5]")

    def test_frames(self):
        self.example("frames", 24, 6, "frames=3", "steps=4", "size=64x64")

    def test_film(self):
        self.example("film", 24, 3, "frames=3", "steps=4", "size=64x64", "axes.ground=[teal, teal, pink]",
                     "axes.denoising_strength=[1, 0.5, 0.5]")

    def test_every_example_is_in_this_list(self):
        names = sorted(re.sub(r"\.yaml$", "", name) for name in os.listdir(EXAMPLES)
                       if name.endswith(".yaml"))
        self.assertEqual(names, sorted(name[5:] for name in dir(self) if name.startswith("test_")
                                       and name != "test_every_example_is_in_this_list"))


if __name__ == "__main__":
    main()
