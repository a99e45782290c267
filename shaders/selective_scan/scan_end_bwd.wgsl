// First backward pass of a scan in segments: q = a_t lam_t at the first step of each segment but the first, if nothing
// came from later segments, left in the slot of the segment before, and the sum of the segment's dt. Threads as in
// scan_fwd. Grid: ops::grid_1d over (sequences of this launch) tiles (segments - 1).
#import lib/grid
#import lib/activation
#import lib/lanes
#import lib/quads

const GATED: bool = true; // silu(z) multiplies the output
const DECAYS: bool = true; // the states decay

alias t_cm = f32;
alias t_grad_y = f32;
alias t_z = f32;
alias t_delta_raw = f32;

struct Params {
    t: u32, channels: u32, states: u32, tiles: u32,
    segments: u32, segment: u32, groups: u32, row0: u32,
    slots_at: u32,
}

@group(0) @binding(0) var<storage, read_write> grad_y: array<t_grad_y>; // [B, T, E], as cm
@group(0) @binding(1) var<storage, read_write> cm: array<t_cm>; // [B, T, N], this launch's from row `row0` on
@group(0) @binding(2) var<storage, read_write> sums: array<f32>; // from slots_at on: q [(sequences), segments, E, N]
#if DECAYS
@group(0) @binding(3) var<storage, read_write> rates: array<f32>; // [E, N], delta_bias [E], ..
@group(0) @binding(4) var<storage, read_write> sum_dt: array<f32>; // [(sequences), segments, E]
@group(0) @binding(5) var<storage, read_write> delta_raw: array<t_delta_raw>; // [B, T, E], as cm
#endif
#if GATED
@group(0) @binding(6) var<storage, read_write> z: array<t_z>; // [B, T, E], as cm
#endif
@group(0) @binding(7) var<uniform> params: Params;

var<workgroup> s_c: array<vec4<f32>, STAGED * QUADS>;
#if DECAYS
var<workgroup> s_dt: array<f32, STAGED * CHANNELS>;
#endif
var<workgroup> s_grad_p: array<f32, STAGED * CHANNELS>;

fn element(matrix: u32, i: u32) -> f32 {
#if DECAYS
    if matrix == RATES {
        return rates[i];
    }
#endif
    return f32(cm[i]);
}

@compute @workgroup_size({THREADS})
fn scan_end_bwd(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let group = workgroup_index(wg, count);
    if group >= params.groups {
        return;
    }
    let segment = 1u + group % (params.segments - 1u);
    let begin = segment * params.segment;
    let end = min(begin + params.segment, params.t);
    let batch = group / (params.segments - 1u) / params.tiles;
    place(group / (params.segments - 1u) % params.tiles, thread);
#for k in 0..PER
    let n{k} = 4u * ({k}u * LANES + lane);
#if DECAYS
    let a{k} = quad(RATES, channel(own), n{k});
#endif
    var q{k} = vec4(0.0);
#end
#if DECAYS
    var total = 0.0;
#endif
    var left = end - begin;
    while left > 0u {
        let staged = min(STAGED, left);
        left -= staged;
        let row0 = params.row0 + batch * params.t + begin + left;
        workgroupBarrier();
        for (var i = thread; i < staged * QUADS; i += THREADS) {
            s_c[i] = quad(C, row0 + i / QUADS, 4u * (i % QUADS));
        }
        for (var i = thread; i < staged * CHANNELS; i += THREADS) {
            let c = channel(i % CHANNELS);
            let at = (row0 + i / CHANNELS) * params.channels + c;
#if DECAYS
            s_dt[i] = softplus(f32(delta_raw[at]) + rates[params.channels * params.states + c]);
#endif
#if GATED
            s_grad_p[i] = f32(grad_y[at]) * silu(f32(z[at]));
#else
            s_grad_p[i] = f32(grad_y[at]);
#endif
        }
        workgroupBarrier();
        for (var t = staged; t > 0u; t--) {
            let grad_p = s_grad_p[(t - 1u) * CHANNELS + own];
#if DECAYS
            let dt = s_dt[(t - 1u) * CHANNELS + own];
            total += dt;
#endif
#for k in 0..PER
            q{k} += grad_p * s_c[(t - 1u) * QUADS + {k}u * LANES + lane];
#if DECAYS
            q{k} *= exp2(dt * a{k});
#endif
#end
        }
    }
    if first + own < params.channels {
        let slot = batch * params.segments + segment;
        let at = params.slots_at + ((slot - 1u) * params.channels + first + own) * params.states;
#for k in 0..PER
#for i in 0..4
        if n{k} + {i}u < params.states {
            sums[at + n{k} + {i}u] = q{k}[{i}];
        }
#end
#end
#if DECAYS
        if lane == 0u {
            sum_dt[slot * params.channels + first + own] = total;
        }
#endif
    }
}
