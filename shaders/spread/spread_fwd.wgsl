// y = value of the window that holds a step; with FIRST only at the window's first step. A thread a step, which looks for
// the last window that begins at it or before; grid: ops::grid_1d over ceil(n / 256) workgroups, n = B T.
#import lib/grid

const FIRST: bool = false;
const NONE: u32 = 4294967295u;

struct Params { n: u32, t: u32, e: u32 }

@group(0) @binding(0) var<storage, read_write> windows: array<u32>; // [B, E, 2]
@group(0) @binding(1) var<storage, read_write> v: array<u32>;       // [B, E]
@group(0) @binding(2) var<storage, read_write> y: array<u32>;       // [B, T]
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(256)
fn spread_fwd(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = workgroup_index(wg, count) * 256u + lane;
    if i >= params.n {
        return;
    }
    let t = i % params.t;
    let base = i / params.t * params.e;
    var low = 0u;
    var high = params.e;
    while high - low > 1u {
        let middle = (low + high) / 2u;
        // Windows without steps come last and count as later.
        let begins = windows[2u * (base + middle)] <= t && windows[2u * (base + middle) + 1u] > 0u;
        low = select(low, middle, begins);
        high = select(middle, high, begins);
    }
    let first = windows[2u * (base + low)];
    let len = windows[2u * (base + low) + 1u];
    let inside = t >= first && t - first < len;
    y[i] = select(NONE, v[base + low], inside && (!FIRST || t == first));
}
