// The scan's gradients. With lam_t = dp_t C_t + a_{t+1} lam_{t+1} and m_t = lam_t h_{t-1} a_t, of each channel and step
//   du = D dp + dt lam.B, ddelta = (m.A + u lam.B) sigma, yp = C.h + D u (ddelta and yp replace dt and dp),
// and partial sums of dB = lam dt u, dC = dp h over the workgroup's channels, of dA_log = A m dt, dD = dp u and
// ddelta_bias = ddelta over its steps.
// A workgroup does CHANNELS channels over one segment of one sequence, chunk by chunk from the last: LANES threads
// share a pair of channels, four states each (those past N are 0). The states before every fourth step of a chunk are
// recomputed from the saved one; then four steps at a time (lib/scan_steps) forward, decays and decayed states staying in
// registers, and backward, with sums over channels and states (lib/scan_sums). Steps past the end have dt = u = dp = 0
// and change nothing; four of them are skipped.
// Without TIED lam dt u and dt lam.B lose dt, and ddelta loses u lam.B; without DECAYS a = 1, and m and dA_log are not
// there; without both there is no dt, without GATED no yp.
// Grid: ops::grid_1d over (sequences of this launch) (tiles of this launch) segments. Source: models.md 4.7.
#import lib/grid
#import lib/activation
#import lib/quads

const THREADS: u32 = 256;
const LANES: u32 = 16;
const CHUNK: u32 = 32;
const PITCH: u32 = 17; // LANES, and one more so that sums over lanes hit different banks
const SEGMENTED: bool = false; // `sums` holds what comes from later segments where dA_log goes
const GATED: bool = true; // silu(z) multiplies the output
const TIED: bool = true; // dt scales the write
const DECAYS: bool = true; // the states decay
const TIMED: bool = TIED || DECAYS; // there is a step dt
const BLOCKS: u32 = CHUNK / 4;
const PAIRS: u32 = THREADS / LANES;
const CHANNELS: u32 = PAIRS * 2;

#import lib/scan_steps
#import lib/scan_sums

alias t_u = f32;
alias t_bm = f32;
alias t_cm = f32;
alias t_grad_u = f32;

struct Params {
    t: u32, channels: u32, states: u32, chunks: u32,
    first_tile: u32, tiles: u32, segments: u32, segment: u32,
    groups: u32, sequence0: u32, rows: u32,
    dc_at: u32, da_at: u32, dd_at: u32, grad_bias_at: u32,
    n: u32,
}

@group(0) @binding(0) var<storage, read_write> x: array<f32>; // [2, n]: dt, dp, then ddelta, yp; n = (sequences) T E
@group(0) @binding(1) var<storage, read_write> u: array<t_u>; // [B, T, E], this launch's from sequence0 on
@group(0) @binding(2) var<storage, read_write> bm: array<t_bm>; // [B, T, N]
@group(0) @binding(3) var<storage, read_write> cm: array<t_cm>; // [B, T, N]
@group(0) @binding(4) var<storage, read_write> rates: array<f32>; // [E, N], delta_bias [E], D [E]
@group(0) @binding(5) var<storage, read_write> saved: array<f32>; // [B, chunks, E, N]
@group(0) @binding(6) var<storage, read_write> grad_u: array<t_grad_u>; // [B, T, E]
@group(0) @binding(7) var<storage, read_write> sums: array<f32>; // partial sums, see below
@group(0) @binding(8) var<uniform> params: Params;

// `sums`: dB and, from dc_at on, dC [(tiles), rows, N] with rows = (sequences) T, from da_at on dA_log [(sequences),
// segments, E, N], from dd_at and dbias_at on dD and ddelta_bias [(sequences), segments, E].

fn element(matrix: u32, i: u32) -> f32 {
    if matrix == B {
        return f32(bm[i]);
    }
    if matrix == C {
        return f32(cm[i]);
    }
    return rates[i];
}

@compute @workgroup_size({THREADS})
fn scan_bwd(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let group = workgroup_index(wg, count);
    if group >= params.groups {
        return;
    }
    let segment = group % params.segments;
    let begin = segment * params.segment;
    let end = min(begin + params.segment, params.t);
    let tile = group / params.segments % params.tiles; // of this launch
    let local = group / params.segments / params.tiles; // sequence of this launch
    let first = (params.first_tile + tile) * CHANNELS;
    let lane = thread % LANES;
    let pair = thread / LANES;
    let n = 4u * lane;
    let slot = (local * params.segments + segment) * params.channels;
#for p in 0..2
    let is_channel{p} = first + 2u * pair + {p}u < params.channels;
    let channel{p} = min(first + 2u * pair + {p}u, params.channels - 1u);
    var q{p} = vec4(0.0); // a_{t+1} lam_{t+1}
#if DECAYS
    let a{p} = quad(RATES, channel{p}, n);
    var g{p} = vec4(0.0); // sum of m dt
#endif
#if SEGMENTED
#for i in 0..4
    if n + {i}u < params.states {
        q{p}[{i}] = sums[params.da_at + (slot + channel{p}) * params.states + n + {i}u];
    }
#end
#endif
#end
    // The threads that sum over states, one a pair of channels: the last ones, since the first sum over channels.
    let sum_pair = THREADS - 1u - thread;
    let c0 = first + 2u * sum_pair;
    let skip_at = params.channels * params.states + params.channels;
    let skip = vec2(
        rates[skip_at + min(c0, params.channels - 1u)],
        rates[skip_at + min(c0 + 1u, params.channels - 1u)],
    );
    var grad_skip = vec2(0.0);
#if TIMED
    var grad_bias = vec2(0.0);
#endif

    for (var chunk = (end + CHUNK - 1u) / CHUNK; chunk > begin / CHUNK; chunk--) {
        let t0 = (chunk - 1u) * CHUNK;
        let from_saved = ((params.sequence0 + local) * params.chunks + chunk - 1u) * params.channels;
#for p in 0..2
        var h{p} = vec4(0.0);
#for i in 0..4
        if n + {i}u < params.states {
            h{p}[{i}] = saved[(from_saved + channel{p}) * params.states + n + {i}u];
        }
#end
#for k in 0..BLOCKS
        var s{p}_{k} = h{p}; // the state before step 4 k
#end
#end
        for (var t1 = t0; t1 < t0 + CHUNK - 4u; t1 += 4u) {
            if t1 < end {
                stage(thread, first, local, t1, end, false);
                for (var t = 0u; t < 4u; t++) {
                    let dt = point(DT, t, pair);
                    let write = written(t, pair);
                    let b = s_b[t * LANES + lane];
#for p in 0..2
#if DECAYS
                    h{p} *= exp2(dt[{p}] * a{p});
#endif
                    h{p} += write[{p}] * b;
#end
                }
            }
#for p in 0..2
#for k in 1..BLOCKS
            s{p}_{k - 1} = s{p}_{k};
#end
            s{p}_{BLOCKS - 1} = h{p};
#end
        }
        for (var block = BLOCKS; block > 0u; block--) {
            let t1 = t0 + 4u * (block - 1u);
#for p in 0..2
            h{p} = s{p}_{BLOCKS - 1};
#for k in 1..BLOCKS
            s{p}_{BLOCKS - k} = s{p}_{BLOCKS - k - 1};
#end
#end
            if t1 >= end {
                continue;
            }
            stage(thread, first, local, t1, end, true);
#for t in 0..4
            let dt{t} = point(DT, {t}u, pair);
            let write{t} = written({t}u, pair);
            let b{t} = s_b[{t}u * LANES + lane];
#for p in 0..2
#if DECAYS
            var d{p}_{t} = exp2(dt{t}[{p}] * a{p});
            var w{p}_{t} = d{p}_{t} * h{p};
#else
            var w{p}_{t} = h{p};
#endif
            h{p} = w{p}_{t} + write{t}[{p}] * b{t};
#end
#end
            // Backward: each turn's step is the last of those that are left, and the others move up.
            for (var left = 4u; left > 0u; left--) {
                let step = left - 1u;
                let t = t1 + step;
                let dt = point(DT, step, pair);
                let write = written(step, pair);
                let grad_p = point(DP, step, pair);
                let b = s_b[step * LANES + lane];
                let c = s_c[step * LANES + lane];
#for p in 0..2
                h{p} = w{p}_3 + write[{p}] * b;
                let lam{p} = grad_p[{p}] * c + q{p};
#if DECAYS
                let m{p} = lam{p} * w{p}_3;
                g{p} += m{p} * dt[{p}];
                q{p} = d{p}_3 * lam{p};
#else
                q{p} = lam{p};
#endif
#for k in 1..4
                w{p}_{4 - k} = w{p}_{3 - k};
#if DECAYS
                d{p}_{4 - k} = d{p}_{3 - k};
#endif
#end
#end
                s_quad[thread] = write.x * lam0 + write.y * lam1;
                s_one[pair * PITCH + lane] = vec2(dot(lam0, b), dot(lam1, b));
#if GATED
                s_two[pair * PITCH + lane] = vec2(dot(c, h0), dot(c, h1));
#endif
                workgroupBarrier();
                let row = (tile * params.rows + local * params.t + t) * params.states;
                sum_channels(thread, row, t < end);
                let inside = sum_pair < PAIRS && t < end;
                let at = (local * params.t + t) * params.channels + c0;
                let out_at = ((params.sequence0 + local) * params.t + t) * params.channels + c0;
                var lam_b = vec2(0.0);
                if inside {
                    lam_b = write_du(step, sum_pair, c0, at, out_at, skip, &grad_skip);
                }
                workgroupBarrier();
                s_quad[thread] = grad_p.x * h0 + grad_p.y * h1;
#if DECAYS
                s_one[pair * PITCH + lane] = vec2(dot(m0, a0), dot(m1, a1));
#endif
                workgroupBarrier();
                sum_channels(thread, params.dc_at + row, t < end);
#if TIMED
                if inside {
                    grad_bias += write_ddelta(step, sum_pair, c0, at, lam_b);
                }
#endif
                workgroupBarrier();
            }
        }
    }
#for p in 0..2
#if DECAYS
    let grad_a{p} = 0.6931471805599453 * a{p} * g{p};
#for i in 0..4
    if is_channel{p} && n + {i}u < params.states {
        sums[params.da_at + (slot + channel{p}) * params.states + n + {i}u] = grad_a{p}[{i}];
    }
#end
#endif
    if sum_pair < PAIRS && c0 + {p}u < params.channels {
        sums[params.dd_at + slot + c0 + {p}u] = grad_skip[{p}];
#if TIMED
        sums[params.grad_bias_at + slot + c0 + {p}u] = grad_bias[{p}];
#endif
    }
#end
}
