// First pass of a scan in segments: the state that each segment but the last would end with if it began with 0, left
// in `saved` where the next one begins, and the sum of its dt. Threads as in scan_fwd.
// Grid: ops::grid_1d over B tiles (segments - 1).
#import lib/grid
const READS_C: bool = false;
#import lib/scan

#if DECAYS
@group(0) @binding(5) var<storage, read_write> sum_dt: array<f32>; // [B, segments, E]
#endif
@group(0) @binding(6) var<uniform> params: Params;

fn element(matrix: u32, i: u32) -> f32 {
    if matrix == B {
        return f32(bm[i]);
    }
    return rates[i];
}

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
    let batch = group / (params.segments - 1u) / params.tiles;
    place(group / (params.segments - 1u) % params.tiles, thread);
#for k in 0..PER
    let n{k} = 4u * ({k}u * LANES + lane);
#if DECAYS
    let a{k} = quad(RATES, channel(own), n{k});
#endif
    var h{k} = vec4(0.0);
#end
#if DECAYS
    var total = 0.0;
#endif
    for (var t0 = begin; t0 < end; t0 += STAGED) {
        workgroupBarrier();
        stage(thread, batch * params.t + t0, STAGED);
        workgroupBarrier();
        for (var t = 0u; t < STAGED; t++) {
            let grad_u = s_written[t * CHANNELS + own];
#if DECAYS
            let dt = s_dt[t * CHANNELS + own];
            total += dt;
#endif
#for k in 0..PER
#if DECAYS
            h{k} *= exp2(dt * a{k});
#endif
            h{k} += grad_u * s_b[t * QUADS + {k}u * LANES + lane];
#end
        }
    }
    if first + own < params.channels {
        let at = saved_at(batch, end / CHUNK);
#for k in 0..PER
        save(at, n{k}, h{k});
#end
#if DECAYS
        if lane == 0u {
            sum_dt[(batch * params.segments + segment) * params.channels + first + own] = total;
        }
#endif
    }
}
