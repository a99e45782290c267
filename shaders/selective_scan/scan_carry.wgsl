// Second pass of a scan in segments: from what each segment gives by itself to what the next one begins with,
// x_{s+1} = exp(A sum of dt) x_s + own_s, in place (the slot of segment s + 1 holds own_s). BACK: the same from the
// last segment to the first, whose slot s - 1 holds own_s and whose last slot becomes 0. Without DECAYS the factor is 1.
// A thread a state of a channel of a sequence; grid: ops::grid_1d over ceil(B E N / 256).
#import lib/grid

const BACK: bool = false;
const DECAYS: bool = true; // the states decay

struct Params { n: u32, matrix: u32, states: u32, channels: u32, segments: u32, at: u32, row: u32, slot: u32 }

@group(0) @binding(0) var<storage, read_write> slots: array<f32>; // from `at` on [B, segments, E, N], strides row, slot, N
#if DECAYS
@group(0) @binding(1) var<storage, read_write> rates: array<f32>; // [E, N], ..
@group(0) @binding(2) var<storage, read_write> sum_dt: array<f32>; // [B, segments, E]
#endif
@group(0) @binding(3) var<uniform> params: Params; // n = B matrix, matrix = E N

@compute @workgroup_size(256)
fn scan_carry(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let item = workgroup_index(wg, count) * 256u + thread;
    if item >= params.n {
        return;
    }
    let i = item % params.matrix;
    let batch = item / params.matrix;
    let slots_at = params.at + batch * params.row + i;
#if DECAYS
    let a = rates[i];
    let dt_at = batch * params.segments * params.channels + i / params.states;
#endif
    var x = 0.0;
#if BACK
    slots[slots_at + (params.segments - 1u) * params.slot] = 0.0;
    for (var s = params.segments - 1u; s > 0u; s--) {
        let at = slots_at + (s - 1u) * params.slot;
#if DECAYS
        x *= exp2(a * sum_dt[dt_at + s * params.channels]);
#endif
        x += slots[at];
        slots[at] = x;
    }
#else
    for (var s = 0u; s + 1u < params.segments; s++) {
        let at = slots_at + (s + 1u) * params.slot;
#if DECAYS
        x *= exp2(a * sum_dt[dt_at + s * params.channels]);
#endif
        x += slots[at];
        slots[at] = x;
    }
#endif
}
