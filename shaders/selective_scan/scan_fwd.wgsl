// y_t = (C_t . h_t + D u_t) silu(z_t) with h_t = exp(dt_t A) h_{t-1} + dt_t u_t B_t, and the state before each chunk.
// A workgroup does CHANNELS channels over one segment of one sequence, states and rates in registers: LANES threads
// share a channel, PER quads of states each (lane, lane + LANES, ..; states past N are 0). STEPS steps are staged at a
// time. A segment other than the first starts from what `saved` holds there (scan_end_fwd, scan_carry). GATED, TIED and
// DECAYS leave out silu(z), the dt before u, and the exponential.
// Grid: ops::grid_1d over B tiles segments. Source: Gu and Dao 2023, algorithm 2; models.md 4.7.
#import lib/grid
#import lib/activation

const THREADS: u32 = 128;
const LANES: u32 = 4;
const PER: u32 = 4;
const STEPS: u32 = 8; // divides CHUNK
const CHUNK: u32 = 32;
const PITCH: u32 = 5; // LANES, and one more so that sums over lanes hit different banks
const GATED: bool = true; // silu(z) multiplies the output
const TIED: bool = true; // dt scales the write
const DECAYS: bool = true; // the states decay
const STEPPED: bool = TIED || DECAYS; // there is a step dt
const CHANNELS: u32 = THREADS / LANES;
const QUADS: u32 = LANES * PER;

alias t_u = f32;
alias t_delta_raw = f32;
alias t_z = f32;
alias t_bm = f32;
alias t_cm = f32;
alias t_y = f32;

struct Params { t: u32, channels: u32, states: u32, chunks: u32, tiles: u32, segments: u32, segment: u32, groups: u32 }

@group(0) @binding(0) var<storage, read_write> u: array<t_u>; // [B, T, E]
@group(0) @binding(1) var<storage, read_write> bm: array<t_bm>; // [B, T, N]
@group(0) @binding(2) var<storage, read_write> cm: array<t_cm>; // [B, T, N]
@group(0) @binding(3) var<storage, read_write> rates: array<f32>; // [E, N], delta_bias [E], D [E]
@group(0) @binding(4) var<storage, read_write> y: array<t_y>; // [B, T, E]
@group(0) @binding(5) var<storage, read_write> saved: array<f32>; // [B, chunks, E, N]
#if STEPPED
@group(0) @binding(6) var<storage, read_write> delta_raw: array<t_delta_raw>; // [B, T, E]
#endif
#if GATED
@group(0) @binding({6 + STEPPED}) var<storage, read_write> z: array<t_z>; // [B, T, E]
#endif
@group(0) @binding({6 + STEPPED + GATED}) var<uniform> params: Params; // segment: steps of one, a multiple of CHUNK

var<workgroup> s_b: array<vec4<f32>, STEPS * QUADS>;
var<workgroup> s_c: array<vec4<f32>, STEPS * QUADS>;
#if DECAYS
var<workgroup> s_dt: array<f32, STEPS * CHANNELS>;
#endif
var<workgroup> s_du: array<f32, STEPS * CHANNELS>; // u, times dt if TIED
var<workgroup> s_sum: array<f32, STEPS * CHANNELS * PITCH>;

fn b_value(row: u32, n: u32) -> f32 {
    let ok = n < params.states;
    return select(0.0, f32(bm[row * params.states + select(0u, n, ok)]), ok);
}

fn c_value(row: u32, n: u32) -> f32 {
    let ok = n < params.states;
    return select(0.0, f32(cm[row * params.states + select(0u, n, ok)]), ok);
}

#if DECAYS
fn rate(channel: u32, n: u32) -> f32 {
    let ok = n < params.states;
    return select(0.0, rates[channel * params.states + select(0u, n, ok)], ok);
}
#endif

@compute @workgroup_size({THREADS})
fn scan_fwd(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let group = workgroup_index(wg, count);
    if group >= params.groups {
        return;
    }
    let begin = group % params.segments * params.segment;
    let end = min(begin + params.segment, params.t);
    let first = group / params.segments % params.tiles * CHANNELS;
    let batch = group / params.segments / params.tiles;
    let bias_at = params.channels * params.states;
    let lane = thread % LANES;
    let own = thread / LANES;
    let is_channel = first + own < params.channels;
    let channel = min(first + own, params.channels - 1u);
#for k in 0..PER
    let n{k} = 4u * ({k}u * LANES + lane);
#if DECAYS
    let a{k} = vec4(rate(channel, n{k}), rate(channel, n{k} + 1u), rate(channel, n{k} + 2u), rate(channel, n{k} + 3u));
#endif
    var h{k} = vec4(0.0);
#end
    if begin > 0u {
        let at = ((batch * params.chunks + begin / CHUNK) * params.channels + channel) * params.states;
#for k in 0..PER
#for i in 0..4
        if n{k} + {i}u < params.states {
            h{k}[{i}] = saved[at + n{k} + {i}u];
        }
#end
#end
    }
    for (var t0 = begin; t0 < end; t0 += STEPS) {
        let steps = min(STEPS, end - t0);
        let row0 = batch * params.t + t0;
        workgroupBarrier();
        for (var i = thread; i < steps * QUADS; i += THREADS) {
            let row = row0 + i / QUADS;
            let n = 4u * (i % QUADS);
            s_b[i] = vec4(b_value(row, n), b_value(row, n + 1u), b_value(row, n + 2u), b_value(row, n + 3u));
            s_c[i] = vec4(c_value(row, n), c_value(row, n + 1u), c_value(row, n + 2u), c_value(row, n + 3u));
        }
        for (var i = thread; i < steps * CHANNELS; i += THREADS) {
            let c = min(first + i % CHANNELS, params.channels - 1u);
            let at = (row0 + i / CHANNELS) * params.channels + c;
#if STEPPED
            let dt = softplus(f32(delta_raw[at]) + rates[bias_at + c]);
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
        if t0 % CHUNK == 0u && is_channel {
            let at = ((batch * params.chunks + t0 / CHUNK) * params.channels + channel) * params.states;
#for k in 0..PER
#for i in 0..4
            if n{k} + {i}u < params.states {
                saved[at + n{k} + {i}u] = h{k}[{i}];
            }
#end
#end
        }
        workgroupBarrier();
        for (var t = 0u; t < steps; t++) {
            let du = s_du[t * CHANNELS + own];
#if DECAYS
            let dt = s_dt[t * CHANNELS + own];
#endif
            var sum = 0.0;
#for k in 0..PER
#if DECAYS
            h{k} *= exp2(dt * a{k});
#endif
            h{k} += du * s_b[t * QUADS + {k}u * LANES + lane];
            sum += dot(s_c[t * QUADS + {k}u * LANES + lane], h{k});
#end
            s_sum[(t * CHANNELS + own) * PITCH + lane] = sum;
        }
        workgroupBarrier();
        for (var i = thread; i < steps * CHANNELS; i += THREADS) {
            let c = first + i % CHANNELS;
            if c < params.channels {
                let at = (row0 + i / CHANNELS) * params.channels + c;
                var sum = rates[bias_at + params.channels + c] * f32(u[at]);
                for (var l = 0u; l < LANES; l++) {
                    sum += s_sum[i * PITCH + l];
                }
#if GATED
                sum *= silu(f32(z[at]));
#endif
                y[at] = t_y(sum);
            }
        }
    }
}
