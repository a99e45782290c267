// First pass of a scan in segments: the state that each segment but the last would end with if it began with 0, left
// in `saved` where the next one begins, and the sum of its dt. Threads as in scan_fwd.
// Grid: ops::grid_1d over B tiles (segments - 1).
#import lib/grid
#import lib/activation

const THREADS: u32 = 128;
const LANES: u32 = 4;
const PER: u32 = 4;
const STEPS: u32 = 8;
const CHUNK: u32 = 32;
const TIED: bool = true; // dt scales the write
const DECAYS: bool = true; // the states decay
const STEPPED: bool = TIED || DECAYS; // there is a step dt
const CHANNELS: u32 = THREADS / LANES;
const QUADS: u32 = LANES * PER;

alias t_u = f32;
alias t_delta_raw = f32;
alias t_bm = f32;

struct Params { t: u32, channels: u32, states: u32, chunks: u32, tiles: u32, segments: u32, segment: u32, groups: u32 }

@group(0) @binding(0) var<storage, read_write> u: array<t_u>; // [B, T, E]
@group(0) @binding(1) var<storage, read_write> bm: array<t_bm>; // [B, T, N]
@group(0) @binding(2) var<storage, read_write> saved: array<f32>; // [B, chunks, E, N]
#if STEPPED
@group(0) @binding(3) var<storage, read_write> rates: array<f32>; // [E, N], delta_bias [E], D [E]
@group(0) @binding(4) var<storage, read_write> delta_raw: array<t_delta_raw>; // [B, T, E]
#endif
#if DECAYS
@group(0) @binding(5) var<storage, read_write> sum_dt: array<f32>; // [B, segments, E]
#endif
@group(0) @binding({3 + 2 * STEPPED + DECAYS}) var<uniform> params: Params; // segment: steps of one, a multiple of CHUNK

var<workgroup> s_b: array<vec4<f32>, STEPS * QUADS>;
#if DECAYS
var<workgroup> s_dt: array<f32, STEPS * CHANNELS>;
#endif
var<workgroup> s_du: array<f32, STEPS * CHANNELS>; // u, times dt if TIED

fn b_value(row: u32, n: u32) -> f32 {
    let ok = n < params.states;
    return select(0.0, f32(bm[row * params.states + select(0u, n, ok)]), ok);
}

#if DECAYS
fn rate(channel: u32, n: u32) -> f32 {
    let ok = n < params.states;
    return select(0.0, rates[channel * params.states + select(0u, n, ok)], ok);
}
#endif

@compute @workgroup_size({THREADS})
fn scan_end_fwd(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let group = workgroup_index(wg, count);
    if group >= params.groups {
        return;
    }
    let segment = group % (params.segments - 1u);
    let begin = segment * params.segment;
    let end = begin + params.segment; // the last segment alone may be shorter
    let first = group / (params.segments - 1u) % params.tiles * CHANNELS;
    let batch = group / (params.segments - 1u) / params.tiles;
    let lane = thread % LANES;
    let own = thread / LANES;
    let channel = min(first + own, params.channels - 1u);
#for k in 0..PER
    let n{k} = 4u * ({k}u * LANES + lane);
#if DECAYS
    let a{k} = vec4(rate(channel, n{k}), rate(channel, n{k} + 1u), rate(channel, n{k} + 2u), rate(channel, n{k} + 3u));
#endif
    var h{k} = vec4(0.0);
#end
#if DECAYS
    var total = 0.0;
#endif
    for (var t0 = begin; t0 < end; t0 += STEPS) {
        let row0 = batch * params.t + t0;
        workgroupBarrier();
        for (var i = thread; i < STEPS * QUADS; i += THREADS) {
            let row = row0 + i / QUADS;
            let n = 4u * (i % QUADS);
            s_b[i] = vec4(b_value(row, n), b_value(row, n + 1u), b_value(row, n + 2u), b_value(row, n + 3u));
        }
        for (var i = thread; i < STEPS * CHANNELS; i += THREADS) {
            let c = min(first + i % CHANNELS, params.channels - 1u);
            let at = (row0 + i / CHANNELS) * params.channels + c;
#if STEPPED
            let dt = softplus(f32(delta_raw[at]) + rates[params.channels * params.states + c]);
#endif
#if DECAYS
            s_dt[i] = dt;
#endif
#if TIED
            s_du[i] = dt * f32(u[at]);
#else
            s_du[i] = f32(u[at]);
#endif
        }
        workgroupBarrier();
        for (var t = 0u; t < STEPS; t++) {
            let du = s_du[t * CHANNELS + own];
#if DECAYS
            let dt = s_dt[t * CHANNELS + own];
            total += dt;
#endif
#for k in 0..PER
#if DECAYS
            h{k} *= exp2(dt * a{k});
#endif
            h{k} += du * s_b[t * QUADS + {k}u * LANES + lane];
#end
        }
    }
    if first + own < params.channels {
        let at = ((batch * params.chunks + end / CHUNK) * params.channels + channel) * params.states;
#for k in 0..PER
#for i in 0..4
        if n{k} + {i}u < params.states {
            saved[at + n{k} + {i}u] = h{k}[{i}];
        }
#end
#end
#if DECAYS
        if lane == 0u {
            sum_dt[(batch * params.segments + segment) * params.channels + channel] = total;
        }
#endif
    }
}
