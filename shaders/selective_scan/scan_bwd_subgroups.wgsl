// The scan's gradients where subgroups share the states: what scan_bwd, scan_inputs_bwd and scan_outputs_bwd compute
// together (the maths and `sums` are described there), without dt, dp and yp in memory.
// A workgroup does CHANNELS channels over one segment of one sequence, chunk by chunk from the last: LANES threads of one
// subgroup share two channels, two states each (those past N are 0). STAGED steps lie in workgroup memory. The states
// before every eighth step of a chunk are recomputed from the saved one; then eight steps at a time forward, decays and
// states staying in registers, and backward. Sums over states by shuffles, to workgroup memory, for du, ddelta_raw and dz of
// eight steps at once; sums over channels through workgroup memory, a step at a time. Steps past the end have
// dt = u = dp = 0 and change nothing; eight of them are skipped.
// Needs subgroups of at least LANES invocations, in order of the workgroup's.
// Grid: ops::grid_1d over (sequences of this launch) (tiles of this launch) segments. Source: models.md 4.7.
#import lib/grid
#import lib/activation

const LANES: u32 = 32; // a power of two, at least 8
const GROUPS: u32 = 16;
const CHUNK: u32 = 32;
const STAGED: u32 = 32; // a divisor of CHUNK
const SEGMENTED: bool = false; // `sums` holds what comes from later segments where dA_log goes
const GATED: bool = true; // silu(z) multiplies the output
const TIED: bool = true; // dt scales the write
const DECAYS: bool = true; // the states decay
const TIMED: bool = TIED || DECAYS; // there is a step dt
const WIDTH: u32 = 2;
const BLOCK: u32 = 8;
const BLOCKS: u32 = CHUNK / BLOCK;
const THREADS: u32 = LANES * GROUPS;
const CHANNELS: u32 = GROUPS * WIDTH;
const STATES: u32 = 2 * LANES;

alias t_u = f32;
alias t_delta_raw = f32;
alias t_z = f32;
alias t_bm = f32;
alias t_cm = f32;
alias t_grad_y = f32;
alias t_grad_u = f32;
alias t_grad_delta = f32;
alias t_grad_z = f32;

struct Params {
    t: u32, channels: u32, states: u32, chunks: u32,
    first_tile: u32, tiles: u32, segments: u32, segment: u32,
    groups: u32, sequence0: u32, rows: u32,
    dc_at: u32, da_at: u32, dd_at: u32, grad_bias_at: u32,
}

@group(0) @binding(0) var<storage, read_write> u: array<t_u>; // [B, T, E], this launch's from sequence0 on
@group(0) @binding(1) var<storage, read_write> bm: array<t_bm>; // [B, T, N]
@group(0) @binding(2) var<storage, read_write> cm: array<t_cm>; // [B, T, N]
@group(0) @binding(3) var<storage, read_write> rates: array<f32>; // [E, N], delta_bias [E], D [E]
@group(0) @binding(4) var<storage, read_write> saved: array<f32>; // [B, chunks, E, N]
@group(0) @binding(5) var<storage, read_write> grad_y: array<t_grad_y>; // [B, T, E]
@group(0) @binding(6) var<storage, read_write> grad_u: array<t_grad_u>; // [B, T, E]
@group(0) @binding(7) var<storage, read_write> sums: array<f32>; // partial sums, see scan_bwd
#if TIMED
@group(0) @binding(8) var<storage, read_write> delta_raw: array<t_delta_raw>; // [B, T, E]
@group(0) @binding(9) var<storage, read_write> grad_delta: array<t_grad_delta>; // [B, T, E]
#endif
#if GATED
@group(0) @binding(10) var<storage, read_write> z: array<t_z>; // [B, T, E]
@group(0) @binding(11) var<storage, read_write> grad_z: array<t_grad_z>; // [B, T, E]
#endif
@group(0) @binding(12) var<uniform> params: Params;

// Of STAGED steps: dt, what is written beside B, and dp of the workgroup's channels; B and C, a state and the one LANES later.
#if TIMED
var<workgroup> s_dt: array<vec2<f32>, STAGED * GROUPS>;
#endif
var<workgroup> s_write: array<vec2<f32>, STAGED * GROUPS>;
var<workgroup> s_dp: array<vec2<f32>, STAGED * GROUPS>;
var<workgroup> s_b: array<vec2<f32>, STAGED * LANES>;
var<workgroup> s_c: array<vec2<f32>, STAGED * LANES>;
// Shares of the groups in dB and dC of a step, twice: one half is summed while the other is filled.
var<workgroup> s_share: array<vec2<f32>, 4 * THREADS>;
var<workgroup> s_sum: array<f32, 3 * BLOCK * CHANNELS>; // lam.B, m.A and C.h of BLOCK steps

var<private> sequence: u32; // of all
var<private> first: u32; // the workgroup's first channel

// Row t of a [B, T, ..] tensor.
fn row_of(t: u32) -> u32 {
    return sequence * params.t + t;
}

// STAGED steps from `t0` on: dt, what is written, B; C and dp too if `all`.
fn stage(thread: u32, t0: u32, end: u32, all: bool) {
    workgroupBarrier();
    for (var i = thread; i < STAGED * LANES; i += THREADS) {
        let t = t0 + i / LANES;
        let row = row_of(t) * params.states;
#for p in 0..2
        let n{p} = i % LANES + {p}u * LANES;
        let ok{p} = t < end && n{p} < params.states;
        let at{p} = select(0u, row + n{p}, ok{p});
        s_b[i][{p}] = select(0.0, f32(bm[at{p}]), ok{p});
        if all {
            s_c[i][{p}] = select(0.0, f32(cm[at{p}]), ok{p});
        }
#end
    }
    for (var i = thread; i < STAGED * CHANNELS; i += THREADS) {
        let t = t0 + i / CHANNELS;
        let c = i % CHANNELS;
        let ok = t < end && first + c < params.channels;
        let channel = select(0u, first + c, ok);
        let at = select(0u, row_of(t) * params.channels + channel, ok);
        let place = i / WIDTH;
        var write = f32(u[at]);
#if TIMED
        let dt = softplus(f32(delta_raw[at]) + rates[params.channels * params.states + channel]);
        s_dt[place][c % WIDTH] = select(0.0, dt, ok);
#if TIED
        write *= dt;
#endif
#endif
        s_write[place][c % WIDTH] = select(0.0, write, ok);
        if all {
            var grad_p = f32(grad_y[at]);
#if GATED
            grad_p *= silu(f32(z[at]));
#endif
            s_dp[place][c % WIDTH] = select(0.0, grad_p, ok);
        }
    }
    workgroupBarrier();
}

@compute @workgroup_size({THREADS})
fn scan_bwd_subgroups(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let workgroup = workgroup_index(wg, count);
    if workgroup >= params.groups {
        return;
    }
    let segment = workgroup % params.segments;
    let begin = segment * params.segment;
    let end = min(begin + params.segment, params.t);
    let tile = workgroup / params.segments % params.tiles; // of this launch
    let local = workgroup / params.segments / params.tiles; // sequence of this launch
    sequence = params.sequence0 + local;
    first = (params.first_tile + tile) * CHANNELS;
    let lane = thread % LANES;
    let group = thread / LANES;
    let slot = (local * params.segments + segment) * params.channels;
#for p in 0..2
    let n{p} = lane + {p}u * LANES;
    let is_state{p} = n{p} < params.states;
#end
#for c in 0..WIDTH
    let is_channel{c} = first + WIDTH * group + {c}u < params.channels;
    let channel{c} = select(0u, first + WIDTH * group + {c}u, is_channel{c});
    var q{c} = vec2(0.0); // a_{t+1} lam_{t+1}
#if DECAYS
    var a{c} = vec2(0.0);
    var g{c} = vec2(0.0); // sum of m dt
#for p in 0..2
    if is_state{p} {
        a{c}[{p}] = rates[channel{c} * params.states + n{p}];
    }
#end
#endif
#if SEGMENTED
#for p in 0..2
    if is_state{p} {
        q{c}[{p}] = sums[params.da_at + (slot + channel{c}) * params.states + n{p}];
    }
#end
#endif
#end
    // What a thread finishes is always of one channel.
    let own = first + thread % CHANNELS;
    let own_at = min(own, params.channels - 1u);
    let skip = rates[params.channels * params.states + params.channels + own_at];
    var grad_skip = 0.0;
    var grad_bias = 0.0;
    let bit1 = (lane & 2u) != 0u;
    let bit2 = (lane & 4u) != 0u;
    let odd = (lane & 1u) != 0u;
    let sum_at = group * WIDTH + (lane & 1u);
    let sum_of = select(select(0u, 1u, bit1), 2u, bit2);

    for (var chunk = (end + CHUNK - 1u) / CHUNK; chunk > begin / CHUNK; chunk--) {
        let t0 = (chunk - 1u) * CHUNK;
        let from_saved = (sequence * params.chunks + chunk - 1u) * params.channels;
#for c in 0..WIDTH
        var h{c} = vec2(0.0);
#for p in 0..2
        if is_state{p} {
            h{c}[{p}] = saved[(from_saved + channel{c}) * params.states + n{p}];
        }
#end
#for k in 0..BLOCKS
        var s{c}_{k} = h{c}; // the state before block k
#end
#end
#if STAGED == CHUNK
        stage(thread, t0, end, true);
#endif
#for k in 1..BLOCKS
#if STAGED < CHUNK && (k - 1) * BLOCK % STAGED == 0
        stage(thread, t0 + {(k - 1) * BLOCK}u, end, false);
#endif
        for (var t = {(k - 1) * BLOCK % STAGED}u; t < {(k - 1) * BLOCK % STAGED + BLOCK}u; t++) {
            let write = s_write[t * GROUPS + group];
            let b = s_b[t * LANES + lane];
#if DECAYS
            let dt = s_dt[t * GROUPS + group];
#for c in 0..WIDTH
            h{c} = fma(exp2(dt[{c}] * a{c}), h{c}, write[{c}] * b);
#end
#else
#for c in 0..WIDTH
            h{c} = fma(vec2(write[{c}]), b, h{c});
#end
#endif
        }
#for c in 0..WIDTH
        s{c}_{k} = h{c};
#end
#end
        for (var block = BLOCKS; block > 0u; block--) {
            let t1 = t0 + BLOCK * (block - 1u);
#for c in 0..WIDTH
            let h{c}_0 = s{c}_{BLOCKS - 1};
#for k in 1..BLOCKS
            s{c}_{BLOCKS - k} = s{c}_{BLOCKS - k - 1};
#end
#end
#if STAGED < CHUNK
            if block * BLOCK % STAGED == 0u && t0 + block * BLOCK - STAGED < end {
                stage(thread, t0 + block * BLOCK - STAGED, end, true);
            }
#endif
            if t1 >= end {
                continue;
            }
            let base = (block - 1u) * BLOCK % STAGED;
            // Forward: the states after each step.
#for t in 0..BLOCK
            let write{t} = s_write[(base + {t}u) * GROUPS + group];
            let b{t} = s_b[(base + {t}u) * LANES + lane];
#if DECAYS
            let dt{t} = s_dt[(base + {t}u) * GROUPS + group];
#for c in 0..WIDTH
            let d{c}_{t} = exp2(dt{t}[{c}] * a{c});
            let h{c}_{t + 1} = fma(d{c}_{t}, h{c}_{t}, write{t}[{c}] * b{t});
#end
#else
#for c in 0..WIDTH
            let h{c}_{t + 1} = fma(vec2(write{t}[{c}]), b{t}, h{c}_{t});
#end
#endif
#end
            // The sums of the block before are read; and dt and B are read anew, so that they take no registers.
            workgroupBarrier();
#for k in 0..BLOCK
            { // step BLOCK - 1 - k
                let t = base + {BLOCK - 1 - k}u;
                let write = s_write[t * GROUPS + group];
                let grad_p = s_dp[t * GROUPS + group];
                let b = s_b[t * LANES + lane];
                let cc = s_c[t * LANES + lane];
#if DECAYS
                let dt = s_dt[t * GROUPS + group];
#endif
                var grad_b = vec2(0.0);
                var grad_c = vec2(0.0);
#for c in 0..WIDTH
                let lam{c} = fma(vec2(grad_p[{c}]), cc, q{c});
                grad_b = fma(vec2(write[{c}]), lam{c}, grad_b);
                grad_c = fma(vec2(grad_p[{c}]), h{c}_{BLOCK - k}, grad_c);
                let r0_{c} = dot(lam{c}, b);
#if DECAYS
                q{c} = d{c}_{BLOCK - 1 - k} * lam{c};
                let m{c} = q{c} * h{c}_{BLOCK - 1 - k};
                g{c} = fma(vec2(dt[{c}]), m{c}, g{c});
                let r1_{c} = dot(m{c}, a{c});
#else
                q{c} = lam{c};
                let r1_{c} = 0.0;
#endif
#if GATED
                let r2_{c} = dot(cc, h{c}_{BLOCK - k});
#else
                let r2_{c} = 0.0;
#endif
#end
                let share = {k % 2 * 2 * THREADS}u + group * STATES + lane;
                s_share[share] = grad_b;
                s_share[share + LANES] = grad_c;
                // Three sums a channel over LANES threads: each turn halves what a thread holds.
#for i in 0..3
                let w{i} = select(r{i}_0, r{i}_1, odd) + subgroupShuffleXor(select(r{i}_1, r{i}_0, odd), 1u);
#end
                let x0 = select(w0, w1, bit1) + subgroupShuffleXor(select(w1, w0, bit1), 2u);
                let x1 = w2 + subgroupShuffleXor(w2, 2u);
                var sum = select(x0, x1, bit2) + subgroupShuffleXor(select(x1, x0, bit2), 4u);
#if LANES > 8
                sum += subgroupShuffleXor(sum, 8u);
#endif
#if LANES > 16
                sum += subgroupShuffleXor(sum, 16u);
#endif
                if lane < 8u {
                    s_sum[(sum_of * BLOCK + {BLOCK - 1 - k}u) * CHANNELS + sum_at] = sum;
                }
            }
            workgroupBarrier();
            {
                // Other threads each time, so that no subgroup is always the last.
                let i = (thread + {THREADS - k * STATES % THREADS}u) % THREADS;
                let t = t1 + {BLOCK - 1 - k}u;
                if i < STATES && t < end {
                    var sum = vec2(0.0);
#for j in 0..GROUPS
                    sum += s_share[{(k % 2 * GROUPS + j) * STATES}u + i];
#end
                    let row = (tile * params.rows + local * params.t + t) * params.states;
                    let at = row + i % LANES + select(0u, params.dc_at, i >= LANES);
#for p in 0..2
                    if i % LANES + {p}u * LANES < params.states {
                        sums[at + {p}u * LANES] = sum[{p}];
                    }
#end
                }
            }
#end
            for (var i = thread; i < BLOCK * CHANNELS; i += THREADS) {
                let t = t1 + i / CHANNELS;
                if t < end && own < params.channels {
                    let at = row_of(t) * params.channels + own;
                    let place = base * GROUPS + i / WIDTH;
                    let lam_b = s_sum[i];
                    let x = f32(u[at]);
                    let grad_p = s_dp[place][i % WIDTH];
                    grad_skip += grad_p * x;
                    var of_u = lam_b;
#if TIMED
                    let dt = s_dt[place][i % WIDTH];
                    var grad_step = 0.0;
#if DECAYS
                    grad_step = 0.6931471805599453 * s_sum[i + {BLOCK * CHANNELS}u];
#endif
#if TIED
                    grad_step += x * lam_b;
                    of_u *= dt;
#endif
                    grad_step *= complement(dt);
                    grad_bias += grad_step;
                    grad_delta[at] = t_grad_delta(grad_step);
#endif
                    grad_u[at] = t_grad_u(skip * grad_p + of_u);
#if GATED
                    let yp = s_sum[i + {2 * BLOCK * CHANNELS}u] + skip * x;
                    grad_z[at] = t_grad_z(f32(grad_y[at]) * yp * silu_slope(f32(z[at])));
#endif
                }
            }
        }
    }
#if DECAYS
#for c in 0..WIDTH
    let grad_a{c} = 0.6931471805599453 * a{c} * g{c};
#for p in 0..2
    if is_channel{c} && is_state{p} {
        sums[params.da_at + (slot + channel{c}) * params.states + n{p}] = grad_a{c}[{p}];
    }
#end
#end
#endif
    workgroupBarrier();
    s_share[thread] = vec2(grad_skip, grad_bias);
    workgroupBarrier();
    if thread < CHANNELS && own < params.channels {
        var sum = vec2(0.0);
        for (var i = thread; i < THREADS; i += CHANNELS) {
            sum += s_share[i];
        }
        sums[params.dd_at + slot + own] = sum.x;
#if TIMED
        sums[params.grad_bias_at + slot + own] = sum.y;
#endif
    }
}
