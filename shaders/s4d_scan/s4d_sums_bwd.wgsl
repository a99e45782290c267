// Partial sums that the gradients of all parameters are made of, over some sequences:
//   W0 = sum of dy_t h_t, W1 = sum of dy_t q_t with q_t = dh_t / dz = e^z (q_{t-1} + h_{t-1}), and dD = sum of dy_t u_t.
// Derivatives of a diagonal recurrence run along with it, so no state is saved and time runs forwards.
// Threads as in s4d_scan_fwd; a workgroup goes through the sequences slot, slot + slots, ..
// Grid: ops::grid_1d over slots tiles. Source: models.md 4.13.
#import lib/grid

const THREADS: u32 = 128;
const LANES: u32 = 8;
const PER: u32 = 2;
const STEPS: u32 = 8;
const CHANNELS: u32 = THREADS / LANES;
const QUADS: u32 = LANES * PER;

alias t_u = f32;
alias t_dy = f32;

struct Params { b: u32, t: u32, channels: u32, states: u32, tiles: u32, slots: u32, skip_at: u32 }

@group(0) @binding(0) var<storage, read_write> u: array<t_u>; // [B, T, d]
@group(0) @binding(1) var<storage, read_write> dy: array<t_dy>; // [B, T, d]
@group(0) @binding(2) var<storage, read_write> planes: array<vec4<f32>>; // [7, d, QUADS]: f, keep, 2 Ct, drift
@group(0) @binding(3) var<storage, read_write> sums: array<f32>; // [slots, 4, d, N / 2], from skip_at on [slots, d]
@group(0) @binding(4) var<uniform> params: Params;

var<workgroup> s_u: array<f32, STEPS * CHANNELS>;
var<workgroup> s_dy: array<f32, STEPS * CHANNELS>;

@compute @workgroup_size({THREADS})
fn s4d_sums_bwd(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let group = workgroup_index(wg, count);
    if group >= params.slots * params.tiles {
        return;
    }
    let first = group % params.tiles * CHANNELS;
    let slot = group / params.tiles;
    let lane = thread % LANES;
    let own = thread / LANES;
    let is_channel = first + own < params.channels;
    let channel = min(first + own, params.channels - 1u);
    let plane = params.channels * QUADS;
#for k in 0..PER
    let at{k} = channel * QUADS + {k}u * LANES + lane;
    let fr{k} = planes[at{k}];
    let fi{k} = planes[plane + at{k}];
    let keep{k} = planes[2u * plane + at{k}];
    var v0r{k} = vec4(0.0);
    var v0i{k} = vec4(0.0);
    var v1r{k} = vec4(0.0);
    var v1i{k} = vec4(0.0);
#end
    var d_skip = 0.0;
    for (var batch = slot; batch < params.b; batch += params.slots) {
#for k in 0..PER
        var hr{k} = vec4(0.0);
        var hi{k} = vec4(0.0);
        var qr{k} = vec4(0.0);
        var qi{k} = vec4(0.0);
#end
        for (var t0 = 0u; t0 < params.t; t0 += STEPS) {
            let steps = min(STEPS, params.t - t0);
            workgroupBarrier();
            for (var i = thread; i < steps * CHANNELS; i += THREADS) {
                let c = min(first + i % CHANNELS, params.channels - 1u);
                let at = (batch * params.t + t0 + i / CHANNELS) * params.channels + c;
                s_u[i] = f32(u[at]);
                s_dy[i] = f32(dy[at]);
            }
            workgroupBarrier();
            // Sums of a few steps first: rounding grows with the number of those.
            var part = 0.0;
#for k in 0..PER
            var w0r{k} = vec4(0.0);
            var w0i{k} = vec4(0.0);
            var w1r{k} = vec4(0.0);
            var w1i{k} = vec4(0.0);
#end
            for (var t = 0u; t < steps; t++) {
                let input = s_u[t * CHANNELS + own];
                let d = s_dy[t * CHANNELS + own];
                part += d * input;
#for k in 0..PER
                let sr{k} = qr{k} + hr{k};
                let si{k} = qi{k} + hi{k};
                qr{k} = keep{k} * sr{k} + (fr{k} * sr{k} - fi{k} * si{k});
                qi{k} = keep{k} * si{k} + (fr{k} * si{k} + fi{k} * sr{k});
                let dr{k} = fr{k} * hr{k} - fi{k} * hi{k} + input;
                let di{k} = fr{k} * hi{k} + fi{k} * hr{k};
                hr{k} = keep{k} * hr{k} + dr{k};
                hi{k} = keep{k} * hi{k} + di{k};
                w0r{k} += d * hr{k};
                w0i{k} += d * hi{k};
                w1r{k} += d * qr{k};
                w1i{k} += d * qi{k};
#end
            }
            d_skip += part;
#for k in 0..PER
            // What rounding f took from h and q in these steps.
            let er{k} = f32(STEPS) * planes[5u * plane + at{k}];
            let ei{k} = f32(STEPS) * planes[6u * plane + at{k}];
            let more_h{k} = er{k} * hr{k} - ei{k} * hi{k};
            let more_q{k} = er{k} * qr{k} - ei{k} * qi{k};
            hi{k} += er{k} * hi{k} + ei{k} * hr{k};
            qi{k} += er{k} * qi{k} + ei{k} * qr{k};
            hr{k} += more_h{k};
            qr{k} += more_q{k};
            v0r{k} += w0r{k};
            v0i{k} += w0i{k};
            v1r{k} += w1r{k};
            v1i{k} += w1i{k};
#end
        }
    }
    if !is_channel {
        return;
    }
    let matrix = params.channels * params.states;
#for k in 0..PER
#for i in 0..4
    let n{k}_{i} = 4u * ({k}u * LANES + lane) + {i}u;
    if n{k}_{i} < params.states {
        let at = slot * 4u * matrix + channel * params.states + n{k}_{i};
        sums[at] = v0r{k}[{i}];
        sums[at + matrix] = v0i{k}[{i}];
        sums[at + 2u * matrix] = v1r{k}[{i}];
        sums[at + 3u * matrix] = v1i{k}[{i}];
    }
#end
#end
    if lane == 0u {
        sums[params.skip_at + slot * params.channels + channel] = d_skip;
    }
}
