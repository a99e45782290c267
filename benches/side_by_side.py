#!/usr/bin/env python3
"""Times selectiv and the kernels that people use today, side by side on one card, and prints the ratios.

    cargo build --release
    python benches/side_by_side.py                                    # steps of all models, recurrences, attention, the card
    python benches/side_by_side.py --op gla --model gated_delta_net   # only these
    python benches/side_by_side.py --model mamba2 --d-model 256 --json out.json

What is timed on the other side has the shape that selectiv names in its own JSON, so both do the same work. Needs
PyTorch with CUDA; flash-linear-attention (`fla`) and `mamba_ssm` are used where they are installed, and what is missing
is said and left out.

First the other side compiles and tunes, everything at once (that takes minutes of processor time, and hardly the card):
`tuned s` is what a process took from its start to the end of a first step of one layer, then. Then each row is timed
alone on its card: selectiv, in processes of their own, and after them the other side. With `--cards 0,1` rows are dealt
to two cards; both sides of a row are timed on the same one. After `--limit` seconds what is left is left out, and said so.

Columns: `ours` is the median by GPU timestamps (kernels; for a step, wall time), `call` the other side's median between
two CUDA events (it includes waiting for Python), `busy` the sum of its kernels. The ratio is the other side at its best
(the smaller of the two) over ours: above 1 selectiv is faster. A step in f32 stands beside the reference in f32, a step
in mixed precision beside its best mode: bf16 throughout where the paper trains so, else bf16 autocast (amp).
"""

import argparse
import importlib.util
import json
import os
import re
import select
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time

# The paper's models, and how else than in f32 the other side trains each at its best.
MODELS = {
    "transformer": "amp", "mamba": "amp", "mamba2": "amp", "gla": "amp", "retnet": "amp", "mesa_net": "amp",
    "delta_net": "bf16", "gated_delta_net": "bf16", "gated_delta_product": "bf16",
}
# Of these there is an f32 step to compare with: the paper trains them so.
F32_MODELS = [model for model, best in MODELS.items() if best == "amp"]
ONLY_F32 = ["mesa_net", "mesa"]  # no mixed precision here
# What selectiv times by the name of an op, and what of it has a counterpart.
OPS = {
    "delta_rule": ["delta_rule", "gated_delta_rule", "gated_delta_product"],
    "linear_attention": ["gla", "simple_gla", "retention", "ssd"],
    "attention": ["attention", "forgetting_attention"],
    "selective_scan": ["selective_scan"],
    "mesa": ["mesa"],
}
KINDS = [kind for kinds in OPS.values() for kind in kinds]
NEEDS = {
    "attention": (), "attention_f32": (), "transformer": (), "card": (),
    "ssd": ("mamba_ssm",), "selective_scan": ("mamba_ssm",), "mamba": ("mamba_ssm",), "mamba2": ("mamba_ssm",),
}
SHAPES = [(64, 400), (8, 4096)]  # B, T of the suite; selectiv has 8 heads of 128 there, values of 256
VOCAB, CLASSES = 41, 1601


class Left(Exception):
    """Something that cannot be timed here, with the reason."""


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


def op_shape(name):
    """B, T, H, widths and n of one of selectiv's entries."""
    shape = re.fullmatch(r"(\w+) B(\d+) T(\d+) H(\d+) ([\dx]+)(?: n(\d+))?", name)
    if not shape:
        raise Left("a shape that this script does not read")
    return *(int(shape[i]) for i in (2, 3, 4)), [int(w) for w in shape[5].split("x")], int(shape[6] or 1)


def op_passes(name, shape, precision):
    """Calls of forward, and of forward and backward."""
    import torch

    dtype = torch.float32 if precision == "f32" else torch.bfloat16
    inputs, forward = op_call("attention_f32" if (name, precision) == ("attention", "f32") else name, *shape, dtype)
    grad = torch.randn_like(forward())
    return {"forward": forward, "training": lambda: torch.autograd.grad(forward(), inputs, grad)}


def usual_shape(name, b, t):
    widths = {"ssd": [128, 128], "mesa": [128, 128], "selective_scan": [64], "attention": [128], "forgetting_attention": [128]}.get(name, [128, 256])
    heads = {"ssd": 16, "selective_scan": 2048}.get(name, 8)
    return b, t, heads, widths, 4 if name == "gated_delta_product" else 1


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


def step_call(model, precision, d, heads, layers=8, b=64, t=400):
    """A training step as the paper makes it: forward, backward, clip, Adam."""
    import torch

    nn = torch.nn
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    with torch.device("cuda"):
        encoder, decoder = nn.Linear(VOCAB, d), nn.Linear(d, CLASSES)
        blocks = nn.ModuleList(block(torch, model, d, heads) for _ in range(layers))
        norms = nn.ModuleList(nn.LayerNorm(d) for _ in range(layers))
        net = nn.ModuleList([encoder, blocks, norms, decoder]).to(dtype)
        x = nn.functional.one_hot(torch.randint(0, VOCAB, (b, t)), VOCAB).to(dtype)
        y = torch.randint(0, CLASSES, (b * t,))
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

    return step


def head_count(d):
    """The paper's rule: 4 up to a width of 512, then the smallest of 8, 16, .. that makes whole heads of 128 or less."""
    heads = 4
    while d > 512 and (d % heads or d // heads > 128):
        heads *= 2
    return heads


# --- the card itself ---------------------------------------------------------------------------------------------------


def card_rates():
    import torch

    rates = {}
    for name, dtype in (("f16", torch.float16), ("bf16", torch.bfloat16), ("f32", torch.float32)):
        a, b = (torch.randn(4096, 4096, device="cuda", dtype=dtype) for _ in range(2))
        rates[f"product {name} TFLOP/s"] = 2e-9 * 4096**3 / time_call(lambda: a @ b)[1]
    source = torch.randn(2**28, device="cuda")
    target = torch.empty_like(source)
    rates["copy GB/s"] = 2e-6 * source.nbytes / time_call(lambda: target.copy_(source))[0]
    return rates


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
    while len(times) < 3 or (len(times) < 15 and time.perf_counter() - start < 2):
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


def one_at_a_time(lock_path):
    """Processes that tune side by side time their candidates in turn, each for a shorter while than Triton would."""
    import contextlib
    import fcntl

    import triton.testing
    from triton.runtime.autotuner import Autotuner

    in_turn = Autotuner._bench

    def bench(self, *args, config, **meta):
        with contextlib.suppress(Exception):  # compiles; what fails here fails again below, where it is dealt with
            self.fn.run(*args, **{**meta, **config.all_kwargs(), "warmup": True})
        with open(lock_path, "a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            return in_turn(self, *args, config=config, **meta)

    Autotuner._bench = bench
    Autotuner.do_bench = staticmethod(
        lambda call, quantiles: triton.testing.do_bench(call, warmup=10, rep=40, quantiles=quantiles))


def worker(name, precision, widths, lock_path):
    """The other side's process: tunes, says so, and times each shape that it is then told, a line of JSON each."""
    start = time.perf_counter()

    def tell(**row):
        print("@" + json.dumps(row), flush=True)

    def attempt(fn, *args):
        try:
            return fn(*args)
        except Left as reason:
            return {"left_out": str(reason)}
        except Exception as error:  # a refusal of theirs (a version, memory) must not end the comparison
            text = str(error).strip().splitlines()
            return {"left_out": f"{type(error).__name__}: {text[0][:120] if text else ''}"}

    def tune():
        require(name)
        import torch

        if importlib.util.find_spec("triton"):
            one_at_a_time(lock_path)
        for d in widths if name in MODELS else []:
            step_call(name, precision, d, head_count(d), layers=1)()
            torch.cuda.synchronize()
            torch.cuda.empty_cache()
        for b, t in SHAPES if name in KINDS else []:
            op_passes(name, usual_shape(name, b, t), precision)["training"]()
            torch.cuda.synchronize()
            torch.cuda.empty_cache()
        return {"tuned_s": time.perf_counter() - start}

    def timed(wanted):
        import torch

        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        if wanted["pass"] == "card":
            return card_rates()
        if wanted["pass"] == "step":
            call = step_call(name, precision, wanted["d"], wanted["heads"])
        else:
            call = op_passes(name, op_shape(wanted["name"]), precision)[wanted["pass"]]
        call, busy = time_call(call)
        return {"call_ms": call, "busy_ms": busy, "gib": torch.cuda.max_memory_allocated() / 2**30}

    found = attempt(tune)
    tell(**found)
    for line in sys.stdin:
        tell(**(found if "left_out" in found else attempt(timed, json.loads(line))))


class Worker:
    """One of those processes, seen from outside."""

    def __init__(self, name, precision, widths, card, folder):
        # Each keeps what it compiles to itself: Triton's cache is shared by all processes else, and so is the time it takes.
        env = os.environ | {
            "CUDA_VISIBLE_DEVICES": card, "CUDA_DEVICE_ORDER": "PCI_BUS_ID", "OMP_NUM_THREADS": "2",
            "TRITON_CACHE_DIR": os.path.join(folder, f"{name}-{precision}"),
        }
        job = json.dumps([name, precision, widths, os.path.join(folder, f"card{card}.lock")])
        self.precision, self.tuned = precision, None
        self.errors = open(os.path.join(folder, f"{name}-{precision}.err"), "w")
        self.process = subprocess.Popen([sys.executable, __file__, "--worker", job], env=env, process_group=0,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors)
        self.rest = b""

    def read(self, seconds):
        """The next row, or None if there is none in time."""
        end = time.monotonic() + seconds
        while True:
            while b"\n" in self.rest:
                line, self.rest = self.rest.split(b"\n", 1)
                if line.startswith(b"@"):
                    return json.loads(line[1:])
            left = end - time.monotonic()
            if left <= 0 or not select.select([self.process.stdout], [], [], left)[0]:
                return None
            more = os.read(self.process.stdout.fileno(), 65536)
            if not more:
                return {"left_out": "its process ended"}
            self.rest += more

    def ask(self, wanted, seconds):
        if self.tuned is None or "left_out" in self.tuned:
            return self.tuned or {"left_out": "not tuned in time"}
        self.process.stdin.write(json.dumps(wanted).encode() + b"\n")
        self.process.stdin.flush()
        return self.read(seconds) or {"left_out": "no time was left"}

    def signal(self, number):
        if self.process.poll() is None:
            os.killpg(self.process.pid, number)


# --- both sides -------------------------------------------------------------------------------------------------------


def selectiv(args, card, precision, *what):
    command = [args.selectiv, "bench", "--json", "-q", "--device", f"gpu:{card}", "--precision", precision, *what]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        return {"entries": [], "error": done.stderr.strip().splitlines()[-1]}
    return json.loads(done.stdout)


class Job:
    """A model or an op: what is timed of it on our side, and the processes of the other."""

    def __init__(self, name, args, card, folder):
        self.name, self.card, self.rows = name, card, []
        if name == "card":
            pairs = [(name, "f32")]
        elif name in MODELS:
            pairs = [(name, "f32")] * (name in F32_MODELS) + [(name, MODELS[name])]
        else:
            pairs = [(kind, "bf16") for kind in OPS.get(name, [name])] + [("attention", "f32")] * (name == "attention")
        self.workers = {pair: Worker(*pair, args.d_model, card, folder) for pair in pairs}

    def run(self, args, left, say):
        in_mixed = ["mixed", "f32"] if self.name in MODELS or self.name in ("attention", "card") else ["mixed"]
        for precision in ["f32"] if self.name in ONLY_F32 else in_mixed:
            if self.name in MODELS:
                whats = [["--model", self.name, "--d-model", str(d)] for d in args.d_model]
            elif self.name == "card":
                whats = [["--op", "fill", "--quick"]]
            else:
                whats = [["--op", self.name]]
            for what in whats:
                report = selectiv(args, self.card, precision, *what)
                if "error" in report:
                    say({"name": " ".join(what), "pass": precision, "left_out": report["error"]})
                self.against(report, precision, left, say)
        for w in self.workers.values():
            w.signal(signal.SIGKILL)

    def against(self, report, precision, left, say):
        common = {key: report.get(key) for key in ("device", "commit", "version")} | {"ours": precision, "card": self.card}
        if self.name == "card":
            ours = {"product TFLOP/s": report["product_gflop_s"] / 1e3, "copy GB/s": report["copy_gb_s"]}
            theirs = self.workers["card", "f32"].ask({"pass": "card"}, left()) if precision == "f32" else {}
            return say(common | {"name": "card", "pass": "card", "rates": ours, "their_rates": theirs})
        for entry in report["entries"]:
            kind = entry["name"].split(" ")[0]
            best = (kind, MODELS[kind] if entry.get("step") else "bf16")
            worker = self.workers.get((kind, "f32") if precision == "f32" and self.name not in ONLY_F32 else best)
            if kind in KINDS and worker is None and self.name in OPS:
                continue  # f32 of a kind whose counterpart runs in bf16 only
            row = common | {"name": entry["name"], "pass": entry["pass"], "ours_ms": entry["median_ms"]}
            step = entry.get("step")
            if step:
                row |= {"ours_gib": step["peak_bytes"] / 2**30, "first_step_s": step["first_step_s"], "launches": step["launches"]}
            if worker is None:
                say(row | {"left_out": "no counterpart" if precision == "mixed" else "no counterpart in f32"})
                continue
            wanted = {"name": entry["name"], "pass": entry["pass"]}
            if step:
                wanted |= {"d": int(re.search(r" d(\d+) ", entry["name"])[1]), "heads": step["heads"]}
            found = worker.ask(wanted, left())
            row |= {"theirs": worker.precision, "tuned_s": (worker.tuned or {}).get("tuned_s")} | found
            if "busy_ms" in found:
                best = min(x for x in (found["call_ms"], found["busy_ms"]) if x > 0)
                row["ratio"] = best / entry["median_ms"]
            say(row)


def number(value, digits):
    return "" if value is None else f"{value:.{digits}f}"


def table(rows):
    columns = ("", "pass", "ours", "ms", "GiB", "first s", "theirs", "call ms", "busy ms", "GiB", "tuned s", "ratio")
    lines = [columns]
    for r in (r for r in rows if r["pass"] != "card"):
        ours = (r["name"], r["pass"], r.get("ours", ""), number(r.get("ours_ms"), 3), number(r.get("ours_gib"), 1),
                number(r.get("first_step_s"), 2))
        if "left_out" in r:
            lines.append((*ours, "", "", "", "", "", f"- ({r['left_out']})"))
        else:
            lines.append((*ours, r["theirs"], number(r["call_ms"], 3), number(r["busy_ms"], 3),
                          number(r["gib"] if r["pass"] == "step" else None, 1), number(r.get("tuned_s"), 0), number(r["ratio"], 2)))
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns) - 1)]
    for line in lines:
        cells = [c.ljust(w) if i < 2 else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths))]
        print("  ".join([*cells, line[-1]]).rstrip())
    for r in (r for r in rows if r["pass"] == "card"):
        both = [("ours, " + r["ours"], r["rates"]), ("theirs", r["their_rates"])]
        for side, rates in both:
            parts = [f"{k} {v:.0f}" if isinstance(v, float) else f"{k}: {v}" for k, v in rates.items()]
            if parts:
                print(f"card, {side}: {', '.join(parts)}")


def versions():
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for package in ("torch", "triton", "flash-linear-attention", "mamba-ssm", "causal-conv1d"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found


def tune(jobs, until, left):
    """Waits until all have tuned, or the time is up; the others are stopped for good."""
    waiting = [w for job in jobs for w in job.workers.values()]
    while waiting and left() > 0 and time.monotonic() < until:
        for w in waiting:
            w.tuned = w.read(0.05)
        waiting = [w for w in waiting if w.tuned is None]
    for w in waiting:
        w.signal(signal.SIGKILL)


def main():
    if sys.argv[1:2] == ["--worker"]:
        return worker(*json.loads(sys.argv[2]))
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("--selectiv", default="target/release/selectiv", help="the program")
    args.add_argument("--cards", default="0", help="numbers of the cards, the same for CUDA and selectiv, such as 0,1")
    args.add_argument("--op", action="append", default=[], choices=[*OPS, *KINDS, "card"], metavar="OP",
                      help=f"only this: {', '.join(dict.fromkeys([*OPS, *KINDS, 'card']))}")
    args.add_argument("--model", action="append", default=[], choices=MODELS, help="only a training step of this model")
    args.add_argument("--d-model", action="append", type=int, default=[], help="width of the models; default: 1024, 256")
    args.add_argument("--tune", type=float, default=1e4, metavar="SECONDS", help="what is not tuned by then is left out")
    args.add_argument("--limit", type=float, default=1e5, metavar="SECONDS", help="end after this time")
    args.add_argument("--json", metavar="FILE", help="write each row there as soon as it is known, a line each")
    args = args.parse_args()
    args.d_model = args.d_model or [1024, 256]
    start = time.monotonic()
    left = lambda: start + args.limit - time.monotonic()
    names = [*args.model, *args.op] or [*MODELS, *OPS, "card"]
    cards = args.cards.split(",")
    rows, lock = [], threading.Lock()
    file = open(args.json, "w") if args.json else None

    def say(row):
        with lock:
            rows.append(row)
            print(json.dumps(row), file=file or sys.stderr, flush=True)

    with tempfile.TemporaryDirectory() as folder:
        jobs = [Job(name, args, cards[i % len(cards)], folder) for i, name in enumerate(names)]
        tune(jobs, start + args.tune, left)
        print(f"tuned after {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)

        def of_card(card):
            for job in (job for job in jobs if job.card == card):
                if left() > 0:
                    job.run(args, left, say)
                else:
                    say({"name": job.name, "pass": "", "left_out": "no time was left"})

        threads = [threading.Thread(target=of_card, args=(card,)) for card in cards]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for w in (w for job in jobs for w in job.workers.values()):
            w.signal(signal.SIGKILL)

    first = next((row for row in rows if row.get("device")), {})
    print(f"ours: selectiv {first.get('version')} ({first.get('commit')}) on {first.get('device')}")
    print("theirs:", ", ".join(f"{p} {v or 'missing'}" for p, v in versions().items()), "\n")
    order = [*MODELS, *KINDS]
    place = lambda row: order.index(row["name"].split(" ")[0]) if row["name"].split(" ")[0] in order else len(order)
    table(sorted(rows, key=place))


if __name__ == "__main__":
    main()
