#!/usr/bin/env python3
"""Times training steps along one size after another: how time and memory grow, and where attention crosses.

    cargo build --release
    python benches/scaling.py scaling.jsonl                  # all axes: some twenty minutes on a fast card
    python benches/scaling.py scaling.jsonl --axis length    # one of them
    python benches/scaling.py scaling.jsonl --draw scaling.svg   # no runs: tables in Markdown, and a picture (matplotlib)

Every point is one `selectiv bench --model NAME --json`, and one line of the file as soon as it is there; points that
the file has already are not run again.
"""

import argparse
import collections
import json
import os
import subprocess
import sys

CHUNKED = ["mamba2", "gla", "retnet", "delta_net", "gated_delta_net", "gated_delta_product", "kda"]
ALL = ["transformer", "fox", "mamba", *CHUNKED, "mesa_net", "s4", "gru"]
TOKENS = 65_536
PAPER = {"d-model": 1024, "layers": 8, "batch": 64, "length": 400}


def points():
    """(axis, model, what differs from PAPER)"""
    for model in ["transformer", "fox", "mamba", *CHUNKED]:
        lengths = [128, 512, 2048, 8192, 32_768, 65_536] if model in ("transformer", "gated_delta_net") else [128, 2048, 65_536]
        for length in lengths:
            yield "length", model, {"layers": 2, "batch": TOKENS // length, "length": length}
    for model in ["mamba", "gated_delta_net"]:
        for batch, length in [(64, 256), (1, 16_384)]:
            yield "one sequence", model, {"batch": batch, "length": length}
    for model in ["transformer", "mamba", "gated_delta_net"]:
        for batch in [1, 4, 16, 64]:
            yield "batch", model, {"batch": batch}
    for layers in [1, 2, 4, 8]:
        yield "layers", "gated_delta_net", {"layers": layers}
    for model in ["mamba", "mamba2"]:
        for states in [16, 64, 128, 256]:
            yield "d_state", model, {"layers": 2, "d-state": states}
    for model in ["gla", "gated_delta_net"]:
        for chunk in [16, 32, 64]:
            yield "chunk", model, {"layers": 2, "chunk": chunk}
    for model in ALL:
        for width in [64, 256, 512, 648, 1024]:
            yield "d_model", model, {"d-model": width}


def run(args, model, changes):
    sizes = PAPER | changes
    flags = [text for key, value in sizes.items() for text in (f"--{key}", str(value))]
    command = [args.selectiv, "bench", "--json", "-q", "--device", args.device, "--precision", args.precision, "--model", model, *flags]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        return {"error": done.stderr.strip().splitlines()[-1]}
    report = json.loads(done.stdout)
    (entry,) = report["entries"]
    return {
        "device": report["device"], "commit": report["commit"], "precision": args.precision, "ms": entry["median_ms"],
        "gib": entry["step"]["peak_bytes"] / 2**30, "launches": entry["step"]["launches"],
    }


def measure(args, rows):
    known = {key(row) for row in rows if "error" not in row}
    wanted = [p for p in points() if not args.axis or p[0] in args.axis]
    wanted = [p for p in wanted if key({"axis": p[0], "model": p[1], "changes": p[2]}) not in known]
    for i, (axis, model, changes) in enumerate(wanted, 1):
        row = {"axis": axis, "model": model, "changes": changes} | run(args, model, changes)
        with open(args.file, "a") as file:
            file.write(json.dumps(row) + "\n")
        found = row.get("error") or f"{row['ms']:.2f} ms, {row['gib']:.2f} GiB"
        print(f"{i} of {len(wanted)}: {axis}: {model} {changes}: {found}", file=sys.stderr, flush=True)


def key(row):
    return row["axis"], row["model"], json.dumps(row["changes"], sort_keys=True)


def along(row):
    """What the axis counts."""
    changes, axis = row["changes"], row["axis"]
    return changes["length" if axis in ("length", "one sequence") else axis.replace("_", "-")]


def tables(rows):
    first = next(row for row in rows if "error" not in row)
    print(f"{first['device']}, commit {first['commit']}; ms a step, then GiB\n")
    for axis in dict.fromkeys(row["axis"] for row in rows):
        cells = collections.defaultdict(dict)
        for row in (row for row in rows if row["axis"] == axis):
            text = "-" if "error" in row else f"{row['ms']:.1f}, {row['gib']:.1f}"
            cells[row["model"]][along(row)] = text
        columns = sorted({x for line in cells.values() for x in line})
        print(f"### {axis}\n\n| model | {' | '.join(f'{x:,}' for x in columns)} |\n|{' --- |' * (len(columns) + 1)}")
        for model, line in cells.items():
            print(f"| {model} | {' | '.join(line.get(x, '') for x in columns)} |")
        print()


def draw(rows, path):
    import matplotlib

    matplotlib.use("svg")
    import matplotlib.pyplot as plt
    import matplotlib.ticker

    plt.rcParams["svg.hashsalt"] = "selectiv"
    figure, panels = plt.subplots(1, 2, figsize=(10, 4.4), layout="constrained")
    lines = collections.defaultdict(list)
    for row in rows:
        if row["axis"] == "length" and "error" not in row:
            lines[row["model"]].append((row["changes"]["length"], row["ms"], row["gib"]))
    for i, (model, line) in enumerate(lines.items()):
        line.sort()
        x, ms, gib = zip(*line)
        style = {"color": f"C{i % 10}", "marker": "os^Dv<>Pp*"[i % 10], "markersize": 4, "label": model}
        panels[0].loglog(x, ms, **style)
        panels[1].semilogx(x, gib, **style)
    plain = matplotlib.ticker.FuncFormatter(lambda x, _: f"{x:,g}")
    for axis in (panels[0].yaxis, panels[0].xaxis, panels[1].xaxis):
        axis.set_major_formatter(plain)
    panels[0].yaxis.set_minor_formatter(matplotlib.ticker.LogFormatter(minor_thresholds=(2, 0.5)))
    for panel, label in zip(panels, ("ms a training step", "GiB")):
        panel.set_xlabel(f"T, time steps of a sequence ({TOKENS:,} tokens a step)")
        panel.set_ylabel(label)
        panel.grid(alpha=0.3)
    panels[1].set_ylim(bottom=0)
    panels[0].legend(fontsize=7)
    figure.savefig(path, metadata={"Date": None})


def main():
    args = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    args.add_argument("file", help="JSON lines: a point each")
    args.add_argument("--axis", action="append", choices=list(dict.fromkeys(p[0] for p in points())), help="only this one")
    args.add_argument("--selectiv", default="target/release/selectiv", help="the program")
    args.add_argument("--device", default="gpu:0")
    args.add_argument("--precision", default="mixed", choices=["f32", "mixed"])
    args.add_argument("--draw", metavar="SVG", help="draw what the file has, and print it as tables")
    args = args.parse_args()
    rows = [json.loads(line) for line in open(args.file)] if os.path.exists(args.file) else []
    if args.draw:
        tables(rows)
        draw(rows, args.draw)
    else:
        measure(args, rows)


if __name__ == "__main__":
    main()
