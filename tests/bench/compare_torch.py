#!/usr/bin/python3
"""Ours against PyTorch with diffusers and transformers, in turns on one machine: SD 1.5's shapes, random weights, 2 threads.

    tests/bench/compare_torch.py --torch PYTHON --model MODEL [--bench bench_engine] [--only step-512 ...]
                                 [--precision bf16 f32] [--turns N] [--threads N] [--json]

PYTHON has torch, diffusers and transformers of PyPI. MODEL has SD 1.5's shapes (make_model.py sd15). Torch runs channels last, as is
fastest there. In each turn ours runs, then torch; the ratio is that of the medians.
"""
import argparse
import json
import os
import statistics
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
WORK = {"step-512": ("step", 512), "step-256": ("step", 256), "vae-512": ("vae", 512), "text": ("text", 512)}


def serve(work, precision, threads):
    """The torch side: one network, run once for each line of standard input; prints seconds."""
    import torch
    torch.set_num_threads(threads)
    torch.set_grad_enabled(False)
    kind, size = WORK[work]
    dtype = {"bf16": torch.bfloat16, "f32": torch.float32}[precision]
    run = {"step": torch_step, "vae": torch_vae, "text": torch_text}[kind](torch, dtype, size // 8)
    run()
    print(json.dumps({"torch": torch.__version__}), flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        run()
        print(time.perf_counter() - start, flush=True)


def filled(torch, make):
    """A network whose weights are drawn without the time that its own initialisation takes."""
    with torch.device("meta"):
        network = make()
    network.to_empty(device="cpu")
    for parameter in network.parameters():
        parameter.uniform_(-0.02, 0.02)
    return network


def torch_step(torch, dtype, side):
    from diffusers import UNet2DConditionModel
    unet = filled(torch, lambda: UNet2DConditionModel(sample_size=64, cross_attention_dim=768, attention_head_dim=8))
    unet = unet.to(dtype).to(memory_format=torch.channels_last).eval()
    x = torch.randn(2, 4, side, side).to(dtype).to(memory_format=torch.channels_last)
    text = torch.randn(2, 77, 768).to(dtype)
    return lambda: unet(x, torch.tensor(500), text)


def torch_vae(torch, dtype, side):
    from diffusers import AutoencoderKL
    vae = filled(torch, lambda: AutoencoderKL(
        block_out_channels=(128, 256, 512, 512), layers_per_block=2, latent_channels=4,
        down_block_types=4 * ("DownEncoderBlock2D",), up_block_types=4 * ("UpDecoderBlock2D",)))
    vae = vae.to(dtype).to(memory_format=torch.channels_last).eval()
    z = torch.randn(1, 4, side, side).to(dtype).to(memory_format=torch.channels_last)
    return lambda: vae.decode(z)


def torch_text(torch, dtype, _):
    from transformers import CLIPTextConfig, CLIPTextModel
    config = CLIPTextConfig(hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12)
    clip = CLIPTextModel(config).to(dtype).eval()
    ids = torch.arange(154).reshape(2, 77) + 1000
    return lambda: clip(ids)


def ours(options, work, precision):
    kind, size = WORK[work]
    done = subprocess.run([options.bench, "--model", options.model, "--only", kind, "--size", str(size), "--runs", "1",
                           "--threads", str(options.threads), "--precision", precision, "--json"],
                          check=True, stdout=subprocess.PIPE, text=True)
    report = json.loads(done.stdout)
    return report["parts"][0]["ms"] / 1e3, report


def compare(options, work, precision):
    torch = subprocess.Popen([options.torch, os.path.abspath(__file__), "--serve", work, "--precision", precision,
                              "--threads", str(options.threads)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    line = torch.stdout.readline()
    if not line:
        sys.exit("torch did not start")
    result = {"work": work, "precision": precision, "torch": json.loads(line)["torch"], "ours_s": [], "torch_s": []}
    for _ in range(options.turns):
        seconds, report = ours(options, work, precision)
        result["ours_s"].append(seconds)
        result.update({key: report[key] for key in ("class", "peak_gflops", "peak_mib")})
        result["peak_share"] = report["parts"][0]["peak_share"]
        torch.stdin.write("run\n")
        torch.stdin.flush()
        result["torch_s"].append(float(torch.stdout.readline()))
    torch.stdin.close()
    torch.wait()
    result["ratio"] = statistics.median(result["torch_s"]) / statistics.median(result["ours_s"])
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--torch", metavar="PYTHON")
    parser.add_argument("--model")
    parser.add_argument("--bench", default=os.path.join(ROOT, "build", "release", "bin", "bench_engine"))
    parser.add_argument("--only", nargs="+", choices=sorted(WORK), default=list(WORK), metavar="WORK")
    parser.add_argument("--precision", nargs="+", choices=("bf16", "f32"), default=["bf16", "f32"])
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--serve", choices=sorted(WORK), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve, options.precision[0], options.threads)
        return
    if not options.torch or not options.model:
        parser.error("--torch and --model are needed")
    for precision in options.precision:
        for work in options.only:
            r = compare(options, work, precision)
            if options.json:
                print(json.dumps(r), flush=True)
            else:
                print("%-9s %-4s ours %8.3f s (%4.1f %% of the peak)   torch %s %8.3f s   %5.2f times" % (
                    work, precision, statistics.median(r["ours_s"]), 100 * r["peak_share"], r["torch"],
                    statistics.median(r["torch_s"]), r["ratio"]), flush=True)


if __name__ == "__main__":
    main()
