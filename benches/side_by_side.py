#!/usr/bin/env python3
"""Times selectiv and the kernels that people use today, side by side on one card, and prints the ratios.

    cargo build --release
    python benches/side_by_side.py                                    # the suite of recurrences
    python benches/side_by_side.py --op gla --model gated_delta_net   # only these
    python benches/side_by_side.py --model mamba2 --precision f32 --json out.json

What is timed on the other side has the shape that selectiv names in its own JSON, so both do the same work. Needs
PyTorch with CUDA; flash-linear-attention (`fla`) and `mamba_ssm` are used where they are installed, and what is missing
is said and left out. selectiv runs first, in a process of its own that has ended before PyTorch touches the card.

Columns: `ours` is the median by GPU timestamps (kernels; for a step, wall time), `call` the other side's median between
two CUDA events (it includes waiting for Python), `busy` the sum of its kernels. The ratio is the other side at its best
(the smaller of the two) over ours: above 1 selectiv is faster.
"""

import argparse
import importlib.util
import json
import re
import statistics
import subprocess
import sys
import time

# How the paper trains each model; what is not listed trains in bf16 throughout.
F32_MODELS = {"transformer", "mamba", "mamba2", "gla", "retnet", "mesa_net"}
NEEDS = {
    "attention": (), "attention_f32": (), "transformer": (),
    "ssd": ("mamba_ssm",), "selective_scan": ("mamba_ssm",), "mamba": ("mamba_ssm",), "mamba2": ("mamba_ssm",),
}


class Left(Exception):
    """Something that cannot be timed here, with the reason."""


def selectiv(binary, device, *args):
    command = [binary, "bench", "--json", "--device", device, *args]
    print("$", " ".join(command), file=sys.stderr, flush=True)
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} ended with exit code {done.returncode}")
    return json.loads(done.stdout)


def require(name):
    missing = [p for p in ("torch", *NEEDS.get(name, ("fla",))) if importlib.util.find_spec(p) is None]
    if missing:
        raise Left(f"{', '.join(missing)} not installed")
    import torch

    if not torch.cuda.is_available():
        raise Left("PyTorch sees no CUDA device")
    if "fla" in NEEDS.get(name, ("fla",)):
        allow_gated_on_hopper()


def allow_gated_on_hopper():
    """With some versions of Triton the gradients of fla's gated kernels are wrong on Hopper cards, and fla refuses to
    compute them. Their time is still worth knowing, and only that is used here."""
    import fla.ops.common.chunk_o as chunk_o

    chunk_o.TRITON_ABOVE_3_7_1 = True


# --- single ops -------------------------------------------------------------------------------------------------------


def leaf(x):
    return x.detach().requires_grad_()


def qkv(torch, b, t, h, d_k, d_v, dtype):
    unit = lambda: torch.nn.functional.normalize(torch.randn(b, t, h, d_k, device="cuda"), dim=-1)
    values = torch.randn(b, t, h, d_v, device="cuda")
    return [leaf(x.to(dtype)) for x in (unit(), unit(), values)]


def log_decay(torch, *shape):
    """Of the same distribution as selectiv's own data: -softplus(normal) / 16."""
    return leaf(-torch.nn.functional.softplus(torch.randn(shape, device="cuda")) / 16)


def strength(torch, b, t, h, dtype):
    return leaf(torch.rand(b, t, h, device="cuda").to(dtype))


def op_call(name, b, t, h, widths, n, dtype):
    """The inputs that get a gradient, and the forward call. `n`: keys and values a token."""
    import torch

    if name in ("attention", "attention_f32"):
        (d,) = widths
        dtype = torch.float32 if name == "attention_f32" else dtype
        x = [leaf(torch.randn(b, h, t, d, device="cuda", dtype=dtype)) for _ in range(3)]
        return x, lambda: torch.nn.functional.scaled_dot_product_attention(*x, is_causal=True)
    if name == "ssd":
        from mamba_ssm.ops.triton.ssd_combined import mamba_chunk_scan_combined

        p, n = widths
        x = leaf(torch.randn(b, t, h, p, device="cuda", dtype=dtype))
        dt = strength(torch, b, t, h, dtype)
        a = leaf(-1 - torch.rand(h, device="cuda"))
        b_c = [leaf(torch.randn(b, t, 1, n, device="cuda", dtype=dtype)) for _ in range(2)]
        return [x, dt, a, *b_c], lambda: mamba_chunk_scan_combined(x, dt, a, *b_c, chunk_size=256, dt_softplus=True)
    if name == "selective_scan":
        from mamba_ssm.ops.selective_scan_interface import selective_scan_fn

        (n,) = widths
        u = leaf(torch.randn(b, h, t, device="cuda", dtype=dtype))
        dt = leaf(torch.rand(b, h, t, device="cuda").to(dtype))
        a = leaf(-1 - torch.rand(h, n, device="cuda"))
        b_c = [leaf(torch.randn(b, n, t, device="cuda", dtype=dtype)) for _ in range(2)]
        return [u, dt, a, *b_c], lambda: selective_scan_fn(u, dt, a, *b_c, delta_softplus=True)
    if name == "forgetting_attention":
        from fla.ops.forgetting_attn import parallel_forgetting_attn

        (d,) = widths
        x = [*qkv(torch, b, t, h, d, d, dtype), log_decay(torch, b, t, h)]
        return x, lambda: parallel_forgetting_attn(*x)
    d_k, d_v = widths
    x = qkv(torch, b, t, h, d_k, d_v, dtype)
    if name == "gated_delta_product":
        from fla.ops.gated_delta_product import chunk_gated_delta_product

        keys, values = qkv(torch, b, n * t, h, d_k, d_v, dtype)[1:]
        x = [x[0], keys, values, log_decay(torch, b, t, h), strength(torch, b, n * t, h, dtype)]
        return x, lambda: chunk_gated_delta_product(*x, num_householder=n)[0]
    if name == "mesa":
        from fla.ops.mesa_net import chunk_mesa_net

        ridge = leaf(0.25 + torch.rand(h, d_k, device="cuda"))
        x += [log_decay(torch, b, t, h), strength(torch, b, t, h, dtype), ridge]
        return x, lambda: chunk_mesa_net(*x)[0]
    if name == "delta_rule":
        from fla.ops.delta_rule import chunk_delta_rule as op

        x.append(strength(torch, b, t, h, dtype))
    elif name == "gated_delta_rule":
        from fla.ops.gated_delta_rule import chunk_gated_delta_rule as op

        x += [log_decay(torch, b, t, h), strength(torch, b, t, h, dtype)]
    elif name == "gla":
        from fla.ops.gla import chunk_gla as op

        x.append(leaf(log_decay(torch, b, t, h, d_k).to(dtype)))
    elif name == "simple_gla":
        from fla.ops.simple_gla import chunk_simple_gla as op

        x.append(log_decay(torch, b, t, h))
    elif name == "retention":
        from fla.ops.retention import chunk_retention as op
    else:
        raise Left("no counterpart is known to this script")
    return x, lambda: op(*x)[0]


def time_op(entry, precision):
    """Milliseconds (call, busy) of the counterpart of one of selectiv's entries."""
    shape = re.fullmatch(r"(\w+) B(\d+) T(\d+) H(\d+) ([\dx]+)(?: n(\d+))?", entry["name"])
    if not shape:
        raise Left("a shape that this script does not read")
    name, widths = shape[1], [int(w) for w in shape[5].split("x")]
    if name == "attention" and precision == "f32":
        name = "attention_f32"
    require(name)
    import torch

    dtype = torch.float32 if precision == "f32" else torch.bfloat16
    inputs, forward = op_call(name, *(int(shape[i]) for i in (2, 3, 4)), widths, int(shape[6] or 1), dtype)
    if entry["pass"] == "forward":
        return time_call(forward)
    grad = torch.randn_like(forward())
    return time_call(lambda: torch.autograd.grad(forward(), inputs, grad))


# --- whole steps ------------------------------------------------------------------------------------------------------


def transformer_block(torch, d, heads):
    """The paper's Transformer: normed and rotated queries and keys, SwiGLU, two residuals."""
    nn = torch.nn

    class Norm(nn.Module):
        def __init__(self, width):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(width))

        def forward(self, x):
            rms = x.square().mean(-1, keepdim=True).sqrt()
            return self.weight * (x / (rms + 1e-8))

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.qkv = nn.ModuleList(nn.Linear(d, d) for _ in range(3))
            self.norms = nn.ModuleList(Norm(d // heads) for _ in range(2))
            self.out, self.out_norm = nn.Linear(d, d), Norm(d)
            self.up, self.down = nn.Linear(d, 8 * d), nn.Linear(4 * d, d)
            self.beta = nn.Parameter(torch.ones(1))
            self.angles = None

        def rotate(self, x):
            t, half = x.shape[1], x.shape[-1] // 2
            if self.angles is None:
                rates = 10000.0 ** (-torch.arange(half, device=x.device) / half)
                angles = torch.outer(torch.arange(t, device=x.device), rates)[None, :, None]
                self.angles = angles.cos(), angles.sin()
            (cos, sin), (a, b) = self.angles, x.split(half, dim=-1)
            return torch.cat((a * cos + b * sin, b * cos - a * sin), dim=-1).to(x.dtype)

        def forward(self, x):
            q, k, v = (f(x).unflatten(-1, (heads, -1)) for f in self.qkv)
            q, k = (self.rotate(norm(y)) for norm, y in zip(self.norms, (q, k)))
            q, k, v = (y.transpose(1, 2) for y in (q, k, v.to(q.dtype)))
            mixed = nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)
            x = x + self.out_norm(self.out(mixed.transpose(1, 2).flatten(-2)))
            gate, value = self.up(x).chunk(2, dim=-1)
            return x + nn.functional.dropout(self.down(gate * torch.sigmoid(self.beta * gate) * value), 0.2)

    return Block()


def block(torch, model, d, heads):
    if model == "transformer":
        return transformer_block(torch, d, heads)
    if model == "mamba":
        from mamba_ssm.modules.mamba_simple import Mamba

        return Mamba(d_model=d, d_state=64)
    if model == "mamba2":
        from mamba_ssm.modules.mamba2 import Mamba2

        return Mamba2(d_model=d, d_state=128, headdim=d // heads)
    from fla import layers

    sizes = {"hidden_size": d, "num_heads": heads, "use_short_conv": True, "expand_v": 2}
    by_heads, by_width = sizes | {"head_dim": d // heads}, sizes | {"expand_k": 1}
    make = {
        "delta_net": lambda: layers.DeltaNet(**by_width),
        "gla": lambda: layers.GatedLinearAttention(**by_width),
        "retnet": lambda: layers.MultiScaleRetention(**by_width),
        "gated_delta_net": lambda: layers.GatedDeltaNet(**by_heads),
        "gated_delta_product": lambda: layers.GatedDeltaProduct(num_householder=4, **by_heads),
        "mesa_net": lambda: layers.MesaNet(**by_heads),
    }
    if model not in make:
        raise Left("no counterpart is known to this script")
    return make[model]()


def time_step(entry, precision):
    shape = re.fullmatch(r"(\w+) d(\d+) L(\d+) B(\d+) T(\d+)", entry["name"])
    model, (d, layers, b, t) = shape[1], (int(shape[i]) for i in (2, 3, 4, 5))
    require(model)
    import torch

    nn = torch.nn
    heads = 4 if d <= 512 else d // 128
    vocab, classes = 41, 1601
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32

    with torch.device("cuda"):
        encoder, decoder = nn.Linear(vocab, d), nn.Linear(d, classes)
        blocks = nn.ModuleList(block(torch, model, d, heads) for _ in range(layers))
        norms = nn.ModuleList(nn.LayerNorm(d) for _ in range(layers))
        net = nn.ModuleList([encoder, blocks, norms, decoder]).to(dtype)
        x = nn.functional.one_hot(torch.randint(0, vocab, (b, t)), vocab).to(dtype)
        y = torch.randint(0, classes, (b * t,))
    params = list(net.parameters())
    adam = torch.optim.Adam(params, lr=1e-3)

    def step():
        with torch.autocast("cuda", torch.bfloat16, enabled=precision == "amp"):
            z = encoder(x)
            for mix, norm in zip(blocks, norms):
                mixed = mix(z)
                mixed = mixed[0] if isinstance(mixed, tuple) else mixed
                z = norm(z + nn.functional.dropout(mixed, 0.2))
            loss = nn.functional.cross_entropy(decoder(z).float().flatten(0, 1), y)
        loss.backward()
        nn.utils.clip_grad_norm_(params, 1.0)
        adam.step()
        adam.zero_grad()

    return time_call(step)


# --- timing -----------------------------------------------------------------------------------------------------------


def time_call(fn):
    """Median milliseconds between events, and kernel milliseconds, of a call. The first calls compile and tune."""
    import torch
    from torch.profiler import ProfilerActivity, profile

    for _ in range(3):
        fn()
    torch.cuda.synchronize()
    start = time.perf_counter()
    while time.perf_counter() - start < 0.5:  # raises the clocks
        fn()
        torch.cuda.synchronize()
    times = []
    start = time.perf_counter()
    while len(times) < 3 or (len(times) < 15 and time.perf_counter() - start < 3):
        first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        first.record()
        fn()
        last.record()
        torch.cuda.synchronize()
        times.append(first.elapsed_time(last))
    repeats = 3
    with profile(activities=[ProfilerActivity.CUDA]) as trace:
        for _ in range(repeats):
            fn()
        torch.cuda.synchronize()
    on_card = [e for e in trace.key_averages() if e.device_type == torch.autograd.DeviceType.CUDA]
    busy = sum(e.self_device_time_total for e in on_card) / 1e3 / repeats
    return statistics.median(times), busy


def compare(entry, precision):
    """A row of the table: the other side's times, or the reason why there are none."""
    row = {"name": entry["name"], "pass": entry["pass"], "ours_ms": entry["median_ms"]}
    try:
        model = entry["name"].split(" ")[0]
        if precision is None:
            precision = "f32" if entry["pass"] == "step" and model in F32_MODELS else "bf16"
        elif precision == "amp" and entry["pass"] != "step":
            precision = "bf16"
        call, busy = (time_step if entry["pass"] == "step" else time_op)(entry, precision)
        best = min(call, busy) if busy > 0 else call
        row |= {"theirs": precision, "call_ms": call, "busy_ms": busy, "ratio": best / entry["median_ms"]}
    except Left as reason:
        row["left_out"] = str(reason)
    except Exception as error:  # a refusal of theirs (a Triton version, memory) must not end the comparison
        row["left_out"] = f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ''}"
    if "torch" in sys.modules:
        sys.modules["torch"].cuda.empty_cache()
    return row


def table(rows, ours):
    columns = ("", "pass", f"ours, {ours} ms", "theirs", "call ms", "busy ms", "ratio")
    lines = [columns]
    for r in rows:
        if "left_out" in r:
            rest = ("-", "-", "-", f"- ({r['left_out']})")
        else:
            rest = (r["theirs"], f"{r['call_ms']:.3f}", f"{r['busy_ms']:.3f}", f"{r['ratio']:.2f}")
        lines.append((r["name"], r["pass"], f"{r['ours_ms']:.3f}", *rest))
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns) - 1)]
    for line in lines:
        cells = [c.ljust(w) if i < 2 else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths))]
        print("  ".join([*cells, line[-1]]).rstrip())


def versions():
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for package in ("torch", "triton", "flash-linear-attention", "mamba-ssm"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--selectiv", default="target/release/selectiv", help="the program")
    args.add_argument("--device", default="gpu:0", help="selectiv's name of the card that CUDA calls 0")
    args.add_argument("--op", action="append", default=[], help="time this op, in place of the suite")
    args.add_argument("--model", action="append", default=[], help="time a training step of this model, likewise")
    args.add_argument("--precision", choices=["bf16", "f32", "amp"],
                      help="of the other side (amp: steps only); default: bf16 kernels, steps as the paper trains them")
    args.add_argument("--json", metavar="FILE", help="also write everything there")
    args = args.parse_args()

    named = [("--op", op) for op in args.op] + [("--model", model) for model in args.model]
    wanted = named or [("--suite", "recurrence")]
    reports = [selectiv(args.selectiv, args.device, *what) for what in wanted]
    rows = []
    for entry in (entry for report in reports for entry in report["entries"]):
        rows.append(compare(entry, args.precision))
        print(json.dumps(rows[-1]), file=sys.stderr, flush=True)

    first, found = reports[0], versions()
    print(f"ours: selectiv {first['version']} ({first['commit']}) on {first['device']}")
    card = "no CUDA device"
    if "torch" in sys.modules and sys.modules["torch"].cuda.is_available():
        card = sys.modules["torch"].cuda.get_device_name(0)
    print("theirs:", ", ".join(f"{p} {v or 'missing'}" for p, v in found.items()), f"on {card}\n")
    table(rows, first["precision"])
    if args.json:
        with open(args.json, "w") as file:
            json.dump({"card": card, "versions": found, "reports": reports, "rows": rows}, file, indent=1)


if __name__ == "__main__":
    main()
