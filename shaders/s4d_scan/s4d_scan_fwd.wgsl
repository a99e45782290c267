// y_t = Re(2 Ct . h_t) + D u_t with h_t = keep h_{t-1} + (f h_{t-1} + u_t), e^z = keep + f (s4d_discretise). REVERSE: time
// runs backwards, which makes du of dy.
// A workgroup does CHANNELS channels of one sequence, states and rates in registers: LANES threads share a channel, PER
// quads of states each (lane, lane + LANES, ..). STEPS steps are staged at a time.
// Grid: ops::grid_1d over B tiles. Source: models.md 4.13.
#import lib/grid

const THREADS: u32 = 128;
const LANES: u32 = 8;
const PER: u32 = 2;
const STEPS: u32 = 8;
const PITCH: u32 = 9; // LANES, and one more so that sums over lanes hit different banks
const REVERSE: bool = false;
const CHANNELS: u32 = THREADS / LANES;
const QUADS: u32 = LANES * PER;

alias t_u = f32;
alias t_y = f32;

struct Params { t: u32, channels: u32, tiles: u32, groups: u32 }

@group(0) @binding(0) var<storage, read_write> u: array<t_u>; // [B, T, d]
@group(0) @binding(1) var<storage, read_write> planes: array<vec4<f32>>; // [7, d, QUADS]: f, keep, 2 Ct, drift
@group(0) @binding(2) var<storage, read_write> skip: array<f32>; // D [d]
@group(0) @binding(3) var<storage, read_write> y: array<t_y>; // [B, T, d]
@group(0) @binding(4) var<uniform> params: Params;

var<workgroup> s_u: array<f32, STEPS * CHANNELS>;
var<workgroup> s_sum: array<f32, STEPS * CHANNELS * PITCH>;

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
    let first = group % params.tiles * CHANNELS;
    let batch = group / params.tiles;
    let lane = thread % LANES;
    let own = thread / LANES;
    let channel = min(first + own, params.channels - 1u);
    let plane = params.channels * QUADS;
#for k in 0..PER
    let at{k} = channel * QUADS + {k}u * LANES + lane;
    let fr{k} = planes[at{k}];
    let fi{k} = planes[plane + at{k}];
    let keep{k} = planes[2u * plane + at{k}];
    let cr{k} = planes[3u * plane + at{k}];
    let ci{k} = planes[4u * plane + at{k}];
    var hr{k} = vec4(0.0);
    var hi{k} = vec4(0.0);
#end
    for (var t0 = 0u; t0 < params.t; t0 += STEPS) {
        let steps = min(STEPS, params.t - t0);
        workgroupBarrier();
        for (var i = thread; i < steps * CHANNELS; i += THREADS) {
            let c = min(first + i % CHANNELS, params.channels - 1u);
            s_u[i] = f32(u[row(batch, t0 + i / CHANNELS) * params.channels + c]);
        }
        workgroupBarrier();
        for (var t = 0u; t < steps; t++) {
            let input = vec4(s_u[t * CHANNELS + own]);
            var sum = vec4(0.0);
#for k in 0..PER
            let dr{k} = fr{k} * hr{k} - fi{k} * hi{k} + input;
            let di{k} = fr{k} * hi{k} + fi{k} * hr{k};
            hr{k} = keep{k} * hr{k} + dr{k};
            hi{k} = keep{k} * hi{k} + di{k};
            sum += cr{k} * hr{k} - ci{k} * hi{k};
#end
            s_sum[(t * CHANNELS + own) * PITCH + lane] = (sum.x + sum.y) + (sum.z + sum.w);
        }
        // What rounding f took from the states in these steps.
#for k in 0..PER
        let er{k} = f32(STEPS) * planes[5u * plane + at{k}];
        let ei{k} = f32(STEPS) * planes[6u * plane + at{k}];
        let more{k} = er{k} * hr{k} - ei{k} * hi{k};
        hi{k} += er{k} * hi{k} + ei{k} * hr{k};
        hr{k} += more{k};
#end
        workgroupBarrier();
        for (var i = thread; i < steps * CHANNELS; i += THREADS) {
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
