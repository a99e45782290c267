"""The other side of side_by_side.py: ops and training steps of the paper's stack in PyTorch, flash-linear-attention and mamba_ssm,
and how long a call takes there."""

import importlib.util
import re
import statistics
import time

# The paper's models, and how else than in f32 the other side trains each at its best.
MODELS = {
    "transformer": "amp", "mamba": "amp", "mamba2": "amp", "gla": "amp", "retnet": "amp", "mesa_net": "amp",
    "delta_net": "bf16", "gated_delta_net": "bf16", "gated_delta_product": "bf16",
}
# Of these there is an f32 step to compare with: the paper trains them so.
F32_MODELS = [model for model, best in MODELS.items() if best == "amp"]
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
