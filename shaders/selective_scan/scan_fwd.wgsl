// y_t = (C_t . h_t + D u_t) silu(z_t) with h_t = exp(dt_t A) h_{t-1} + dt_t u_t B_t, and the state before each chunk.
// A workgroup does CHANNELS channels (lib/lanes) over one segment of one sequence, states and rates in registers; states
// past N are 0. A segment other than the first starts from what `saved` holds there (scan_end_fwd, scan_carry). GATED,
// TIED and DECAYS leave out silu(z), the dt before u, and the exponential.
// Grid: ops::grid_1d over B tiles segments. Source: Gu and Dao 2023, algorithm 2; models.md 4.7.
#import lib/grid
const READS_C: bool = true;
#import lib/scan

const PITCH: u32 = 5; // LANES, and one more so that sums over lanes hit different banks
const GATED: bool = true; // silu(z) multiplies the output

alias t_z = f32;
alias t_cm = f32;
alias t_y = f32;

@group(0) @binding(5) var<storage, read_write> cm: array<t_cm>; // [B, T, N]
@group(0) @binding(6) var<storage, read_write> y: array<t_y>; // [B, T, E]
#if GATED
@group(0) @binding(7) var<storage, read_write> z: array<t_z>; // [B, T, E]
#endif
@group(0) @binding(8) var<uniform> params: Params;

var<workgroup> s_c: array<vec4<f32>, STAGED * QUADS>;
var<workgroup> s_sum: array<f32, STAGED * CHANNELS * PITCH>;

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
    let batch = group / params.segments / params.tiles;
    place(group / params.segments % params.tiles, thread);
#for k in 0..PER
    let n{k} = 4u * ({k}u * LANES + lane);
#if DECAYS
    let a{k} = quad(RATES, channel(own), n{k});
#endif
    var h{k} = vec4(0.0);
#end
    if begin > 0u {
        let at = saved_at(batch, begin / CHUNK);
#for k in 0..PER
#for i in 0..4
        if n{k} + {i}u < params.states {
            h{k}[{i}] = saved[at + n{k} + {i}u];
        }
#end
#end
    }
    for (var t0 = begin; t0 < end; t0 += STAGED) {
        let staged = min(STAGED, end - t0);
        let row0 = batch * params.t + t0;
        workgroupBarrier();
        stage(thread, row0, staged);
        if t0 % CHUNK == 0u && first + own < params.channels {
            let at = saved_at(batch, t0 / CHUNK);
#for k in 0..PER
            save(at, n{k}, h{k});
#end
        }
        workgroupBarrier();
        for (var t = 0u; t < staged; t++) {
            let grad_u = s_written[t * CHANNELS + own];
#if DECAYS
            let dt = s_dt[t * CHANNELS + own];
#endif
            var sum = 0.0;
#for k in 0..PER
#if DECAYS
            h{k} *= exp2(dt * a{k});
#endif
            h{k} += grad_u * s_b[t * QUADS + {k}u * LANES + lane];
            sum += dot(s_c[t * QUADS + {k}u * LANES + lane], h{k});
#end
            s_sum[(t * CHANNELS + own) * PITCH + lane] = sum;
        }
        workgroupBarrier();
        for (var i = thread; i < staged * CHANNELS; i += THREADS) {
            let c = first + i % CHANNELS;
            if c < params.channels {
                let at = (row0 + i / CHANNELS) * params.channels + c;
                var sum = rates[params.channels * params.states + params.channels + c] * f32(u[at]);
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
