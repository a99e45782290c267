// y_t = Re(2 Ct . h_t) + D u_t with h_t = keep h_{t-1} + (f h_{t-1} + u_t), e^z = keep + f (s4d_discretise). REVERSE: time
// runs backwards, which makes du of dy.
// A workgroup does CHANNELS channels of one sequence (lib/lanes), states and rates in registers.
// Grid: ops::grid_1d over B tiles. Source: models.md 4.13.
#import lib/grid
#import lib/s4d_states

const PITCH: u32 = 5; // LANES, and one more so that sums over lanes hit different banks
const REVERSE: bool = false;

alias t_u = f32;
alias t_y = f32;

struct Params { t: u32, channels: u32, tiles: u32, groups: u32 }

@group(0) @binding(0) var<storage, read_write> u: array<t_u>; // [B, T, d]
@group(0) @binding(1) var<storage, read_write> planes: array<vec4<f32>>; // [7, d, QUADS]: f, keep, 2 Ct, drift
@group(0) @binding(2) var<storage, read_write> skip: array<f32>; // D [d]
@group(0) @binding(3) var<storage, read_write> y: array<t_y>; // [B, T, d]
@group(0) @binding(4) var<uniform> params: Params;

var<workgroup> s_u: array<f32, STAGED * CHANNELS>;
var<workgroup> s_sum: array<f32, STAGED * CHANNELS * PITCH>;

fn row(batch: u32, step: u32) -> u32 {
#if REVERSE
    return batch * params.t + params.t - 1u - step;
#else
    return batch * params.t + step;
#endif
}

@compute @workgroup_size({THREADS})
fn s4d_scan_fwd(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let group = workgroup_index(wg, count);
    if group >= params.groups {
        return;
    }
    place(group % params.tiles, thread);
    let batch = group / params.tiles;
#for k in 0..PER
    let at{k} = quad_at({k}u);
    let rate{k} = rate_at(at{k});
    let weight{k} = output_weight_at(at{k});
    var h{k} = Complex4();
#end
    for (var t0 = 0u; t0 < params.t; t0 += STAGED) {
        let staged = min(STAGED, params.t - t0);
        workgroupBarrier();
        for (var i = thread; i < staged * CHANNELS; i += THREADS) {
            s_u[i] = f32(u[row(batch, t0 + i / CHANNELS) * params.channels + channel(i % CHANNELS)]);
        }
        workgroupBarrier();
        for (var t = 0u; t < staged; t++) {
            let input = s_u[t * CHANNELS + own];
            var sum = vec4(0.0);
#for k in 0..PER
            h{k} = next_state(rate{k}, h{k}, input);
            sum += product(weight{k}, h{k}).re;
#end
            s_sum[(t * CHANNELS + own) * PITCH + lane] = (sum.x + sum.y) + (sum.z + sum.w);
        }
#for k in 0..PER
        h{k} = restored(h{k}, at{k});
#end
        workgroupBarrier();
        for (var i = thread; i < staged * CHANNELS; i += THREADS) {
            let c = first + i % CHANNELS;
            if c < params.channels {
                var sum = skip[c] * s_u[i];
                for (var l = 0u; l < LANES; l++) {
                    sum += s_sum[i * PITCH + l];
                }
                y[row(batch, t0 + i / CHANNELS) * params.channels + c] = t_y(sum);
            }
        }
    }
}
