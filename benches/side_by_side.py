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

Where that is too much for one run, `--cache` keeps what was compiled and chosen, and the next run goes on from there:

    python benches/side_by_side.py --cache DIR --tune-only --tune 500    # as often as it takes; each ends within the time
    python benches/side_by_side.py --cache DIR --json out.json           # tunes in seconds, measures

`tuned s` is then the time of all runs until a process had tuned for the first time.

Columns: `ours` is the median by GPU timestamps (kernels; for a step, wall time), `call` the other side's median between
two CUDA events (it includes waiting for Python), `busy` the sum of its kernels. The ratio is the other side at its best
(the smaller of the two) over ours: above 1 selectiv is faster. A step in f32 stands beside the reference in f32, a step
in mixed precision beside its best mode: bf16 throughout where the paper trains so, else bf16 autocast (amp).
"""

import argparse
import contextlib
import importlib.util
import json
import os
import re
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time

from counterparts import (
    F32_MODELS, KINDS, MODELS, OPS, SHAPES, Left, card_rates, head_count, op_passes, op_shape, require, step_call,
    time_call, usual_shape,
)


# --- the other side ---------------------------------------------------------------------------------------------------


def one_at_a_time(lock_path):
    """Processes that tune side by side time their candidates in turn, each for a shorter while than Triton would. What a
    kernel can be made into is compiled by a few threads before the first of it is timed."""
    import concurrent.futures
    import fcntl

    import triton.testing
    from triton.runtime.autotuner import Autotuner

    choose, in_turn = Autotuner.prune_configs, Autotuner._bench
    threads = concurrent.futures.ThreadPoolExecutor(4)

    def prune_configs(self, kwargs):
        self.not_compiled = choose(self, kwargs)
        return self.not_compiled

    def bench(self, *args, config, **meta):
        if self.not_compiled:  # what fails here fails again below, where it is dealt with
            with contextlib.suppress(Exception), triton.AsyncCompileMode(threads, ignore_errors=True):
                for candidate in self.not_compiled:
                    self.fn.run(*args, **{**meta, **candidate.all_kwargs(), "warmup": True})
            self.not_compiled = []
        with open(lock_path, "a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            return in_turn(self, *args, config=config, **meta)

    Autotuner.prune_configs = prune_configs
    Autotuner._bench = bench
    Autotuner.do_bench = staticmethod(
        lambda call, quantiles: triton.testing.do_bench(call, warmup=10, rep=40, quantiles=quantiles))


def worker(name, precision, d, lock_path):
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
        if d:
            step_call(name, precision, d, head_count(d), layers=1)()
        for b, t in SHAPES if name in KINDS and not d else []:
            op_passes(name, usual_shape(name, b, t), precision)["training"]()
            torch.cuda.empty_cache()
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

    def __init__(self, name, precision, d, card, folder):
        self.name, self.precision, self.d, self.tuned = name, precision, d, None  # d: the width of a model, None for an op
        # Each keeps what it compiles to itself: Triton's cache is shared by all processes else, and so is the time it takes.
        self.folder = os.path.join(folder, f"{name}-{precision}-{d}" if d else f"{name}-{precision}")
        os.makedirs(self.folder, exist_ok=True)
        env = os.environ | {
            "CUDA_VISIBLE_DEVICES": card, "CUDA_DEVICE_ORDER": "PCI_BUS_ID", "OMP_NUM_THREADS": "2",
            "TRITON_CACHE_DIR": os.path.join(self.folder, "triton"), "TRITON_CACHE_AUTOTUNING": "1",
        }
        job = json.dumps([name, precision, d, os.path.join(folder, f"card{card}.lock")])
        self.errors = open(os.path.join(self.folder, "errors"), "w")
        self.process = subprocess.Popen([sys.executable, __file__, "--worker", job], env=env, process_group=0,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors)
        self.rest = b""

    def add_time(self, seconds):
        """The seconds that it has taken to tune, those of former runs with the same cache included."""
        path = os.path.join(self.folder, "tuned.json")
        seen = {"tuned_s": 0.0, "whole": False}
        if os.path.exists(path):
            with open(path) as file:
                seen = json.load(file)
        if not seen["whole"]:
            seen = {"tuned_s": seen["tuned_s"] + seconds, "whole": self.tuned is not None}
            with open(path, "w") as file:
                json.dump(seen, file)
        return seen["tuned_s"]

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
        try:
            self.process.stdin.write(json.dumps(wanted).encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            return {"left_out": "its process ended"}
        return self.read(seconds) or {"left_out": "no time was left"}

    def signal(self, number):
        if self.process.poll() is None:
            os.killpg(self.process.pid, number)


# --- both sides -------------------------------------------------------------------------------------------------------


def selectiv(args, card, precision, seconds, *what):
    command = [args.selectiv, "bench", "--json", "-q", "--device", f"gpu:{card}", "--precision", precision, *what]
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=max(seconds, 0))
    except subprocess.TimeoutExpired:
        return {"entries": [], "error": "no time was left"}
    if done.returncode != 0:
        return {"entries": [], "error": done.stderr.strip().splitlines()[-1]}
    return json.loads(done.stdout)


class Job:
    """A model or an op: what is timed of it on our side, and the processes of the other."""

    def __init__(self, name, is_model, args, card, folder):
        self.name, self.is_model, self.card = name, is_model, card
        if name == "card":
            pairs = [(name, "f32")]
        elif is_model:
            pairs = [(name, "f32")] * (name in F32_MODELS) + [(name, MODELS[name])]
        else:
            pairs = [(kind, "bf16") for kind in OPS.get(name, [name])] + [("attention", "f32")] * (name == "attention")
        widths = args.d_model if is_model else [None]
        self.workers = {(*pair, d): Worker(*pair, d, card, folder) for pair in pairs for d in widths}

    def run(self, args, left, say):
        if self.is_model or self.name in ("attention", "card"):
            precisions = ["mixed", "f32"]
        else:
            precisions = ["mixed"]
        for precision in precisions:
            if self.is_model:
                whats = [["--model", self.name, "--d-model", str(d)] for d in args.d_model]
            elif self.name == "card":
                whats = [["--op", "fill", "--quick"]]
            else:
                whats = [["--op", self.name]]
            for what in whats:
                report = selectiv(args, self.card, precision, left(), *what)
                if "error" in report:
                    say({"name": " ".join(what), "pass": precision, "left_out": report["error"]})
                    continue
                self.against(report, precision, left, say)
        for w in self.workers.values():
            w.signal(signal.SIGKILL)

    def against(self, report, precision, left, say):
        common = {key: report.get(key) for key in ("device", "commit", "version")} | {"ours": precision, "card": self.card}
        if self.name == "card":
            ours = {"product TFLOP/s": report["product_gflop_s"] / 1e3, "copy GB/s": report["copy_gb_s"]}
            theirs = self.workers["card", "f32", None].ask({"pass": "card"}, left()) if precision == "f32" else {}
            return say(common | {"name": "card", "pass": "card", "rates": ours, "their_rates": theirs})
        for entry in report["entries"]:
            kind = entry["name"].split(" ")[0]
            step = entry.get("step")
            d = int(re.search(r" d(\d+) ", entry["name"])[1]) if step else None
            best = MODELS[kind] if step else "bf16"
            worker = self.workers.get((kind, "f32" if precision == "f32" else best, d))
            if kind in KINDS and worker is None and self.name in OPS:
                continue  # f32 of a kind whose counterpart runs in bf16 only
            row = common | {"name": entry["name"], "pass": entry["pass"], "ours_ms": entry["median_ms"]}
            if step:
                row |= {"ours_gib": step["peak_bytes"] / 2**30, "first_step_s": step["first_step_s"], "launches": step["launches"]}
            if worker is None:
                say(row | {"left_out": "no counterpart" if precision == "mixed" else "no counterpart in f32"})
                continue
            wanted = {"name": entry["name"], "pass": entry["pass"]}
            if step:
                wanted |= {"d": d, "heads": step["heads"]}
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
    for r in (r for r in rows if r["pass"] not in ("card", "tuning")):
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


def tuning_table(rows):
    for r in sorted(rows, key=lambda r: (r["name"], r["theirs"], r["d"] or 0)):
        took = f"- ({r['left_out']})" if "left_out" in r else f"{r['tuned_s']:.0f} s"
        print(f"{r['name']:24}{r['theirs']:6}{r['d'] or '':>6}  {took}")


def versions():
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for package in ("torch", "triton", "flash-linear-attention", "mamba-ssm", "causal-conv1d"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found


def tune(waiting, until, left, say):
    """Waits until all have tuned, or the time is up; the others are stopped for good."""
    start = time.monotonic()
    while waiting and left() > 0 and time.monotonic() < until:
        for w in waiting:
            w.tuned = w.read(0.05)
            if w.tuned is not None and "left_out" not in w.tuned:
                w.tuned["tuned_s"] = w.add_time(w.tuned["tuned_s"])
            if w.tuned is not None:
                say({"name": w.name, "pass": "tuning", "theirs": w.precision, "d": w.d} | w.tuned)
        waiting = [w for w in waiting if w.tuned is None]
    for w in waiting:
        w.signal(signal.SIGKILL)
        so_far = w.add_time(time.monotonic() - start)
        say({"name": w.name, "pass": "tuning", "theirs": w.precision, "d": w.d, "left_out": f"not tuned after {so_far:.0f} s"})


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
    args.add_argument("--tune-only", action="store_true", help="compile and tune what is then found in the cache")
    args.add_argument("--cache", metavar="DIR", help="keep there what the other side compiled and chose, for the next run")
    args.add_argument("--limit", type=float, default=1e5, metavar="SECONDS", help="end after this time")
    args.add_argument("--json", metavar="FILE", help="write each row there as soon as it is known, a line each")
    args = args.parse_args()
    args.d_model = args.d_model or [1024, 256]
    start = time.monotonic()
    left = lambda: start + args.limit - time.monotonic()
    models, ops = (args.model, args.op) if args.model or args.op else (MODELS, [*OPS, "card"])
    cards = args.cards.split(",")
    rows, lock = [], threading.Lock()
    file = open(args.json, "w") if args.json else None

    def say(row):
        with lock:
            rows.append(row)
            print(json.dumps(row), file=file or sys.stderr, flush=True)

    with contextlib.nullcontext(args.cache) if args.cache else tempfile.TemporaryDirectory() as folder:
        names = [*((name, True) for name in models), *((name, False) for name in ops)]
        jobs = [Job(*name, args, cards[i % len(cards)], folder) for i, name in enumerate(names)]
        workers = [w for job in jobs for w in job.workers.values()]
        tune(workers, start + args.tune, left, say)
        print(f"tuned after {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)
        if args.tune_only:
            for w in workers:
                w.signal(signal.SIGKILL)
            return tuning_table(rows)

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
        for w in workers:
            w.signal(signal.SIGKILL)

    first = next((row for row in rows if row.get("device")), {})
    print(f"ours: selectiv {first.get('version')} ({first.get('commit')}) on {first.get('device')}")
    print("theirs:", ", ".join(f"{p} {v or 'missing'}" for p, v in versions().items()), "\n")
    order = [*MODELS, *KINDS]
    place = lambda row: order.index(row["name"].split(" ")[0]) if row["name"].split(" ")[0] in order else len(order)
    table(sorted(rows, key=place))


if __name__ == "__main__":
    main()
