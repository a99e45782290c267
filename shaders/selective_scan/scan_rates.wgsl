// The parameters of both passes in one tensor: rates -exp(A_log) log2(e) [E, N], then delta_bias [E], then D [E]; those
// that a variant lacks keep their place, and nobody reads it.
// A thread an element; grid: ops::grid_1d over ceil(E (N + 2) / 256).
#import lib/grid

const TIMED: bool = true; // there is a step dt
const DECAYS: bool = true; // the states decay

struct Params { channels: u32, states: u32 }

@group(0) @binding(0) var<storage, read_write> skip: array<f32>; // D [E]
@group(0) @binding(1) var<storage, read_write> rates: array<f32>; // [E N + 2 E]
#if TIMED
@group(0) @binding(2) var<storage, read_write> delta_bias: array<f32>; // [E]
#endif
#if DECAYS
@group(0) @binding(3) var<storage, read_write> a_log: array<f32>; // [E, N]
#endif
@group(0) @binding(4) var<uniform> params: Params;

@compute @workgroup_size(256)
fn scan_rates(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let i = workgroup_index(wg, count) * 256u + thread;
    let matrix = params.channels * params.states;
#if DECAYS
    if i < matrix {
        rates[i] = -1.4426950408889634 * exp(a_log[i]);
    }
#endif
#if TIMED
    if i >= matrix && i < matrix + params.channels {
        rates[i] = delta_bias[i - matrix];
    }
#endif
    if i >= matrix + params.channels && i < matrix + 2u * params.channels {
        rates[i] = skip[i - matrix - params.channels];
    }
}
