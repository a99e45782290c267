// Partial sums that the gradients of all parameters are made of, over some sequences:
//   W0 = sum of dy_t h_t, W1 = sum of dy_t q_t with q_t = dh_t / dz = e^z (q_{t-1} + h_{t-1}), and dD = sum of dy_t u_t.
// Derivatives of a diagonal recurrence run along with it, so no state is saved and time runs forwards.
// Threads as in s4d_scan_fwd; a workgroup goes through the sequences slot, slot + slots, ..
// Grid: ops::grid_1d over slots tiles. Source: models.md 4.13.
#import lib/grid
#import lib/s4d_states

alias t_u = f32;
alias t_grad_y = f32;

struct Params { b: u32, t: u32, channels: u32, states: u32, tiles: u32, slots: u32, skip_at: u32 }

@group(0) @binding(0) var<storage, read_write> u: array<t_u>; // [B, T, d]
@group(0) @binding(1) var<storage, read_write> grad_y: array<t_grad_y>; // [B, T, d]
@group(0) @binding(2) var<storage, read_write> planes: array<vec4<f32>>; // [7, d, QUADS]: f, keep, 2 Ct, drift
@group(0) @binding(3) var<storage, read_write> sums: array<f32>; // [slots, 4, d, N / 2], from skip_at on [slots, d]
@group(0) @binding(4) var<uniform> params: Params;

var<workgroup> s_u: array<f32, STAGED * CHANNELS>;
var<workgroup> s_grad_y: array<f32, STAGED * CHANNELS>;

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
    place(group % params.tiles, thread);
    let slot = group / params.tiles;
#for k in 0..PER
    let at{k} = quad_at({k}u);
    let rate{k} = rate_at(at{k});
    var w0_{k} = Complex4();
    var w1_{k} = Complex4();
#end
    var grad_skip = 0.0;
    for (var batch = slot; batch < params.b; batch += params.slots) {
#for k in 0..PER
        var h{k} = Complex4();
        var q{k} = Complex4();
#end
        for (var t0 = 0u; t0 < params.t; t0 += STAGED) {
            let staged = min(STAGED, params.t - t0);
            workgroupBarrier();
            for (var i = thread; i < staged * CHANNELS; i += THREADS) {
                let at = (batch * params.t + t0 + i / CHANNELS) * params.channels + channel(i % CHANNELS);
                s_u[i] = f32(u[at]);
                s_grad_y[i] = f32(grad_y[at]);
            }
            workgroupBarrier();
            // Sums of a few steps first: rounding grows with the number of those.
            var part = 0.0;
#for k in 0..PER
            var part0_{k} = Complex4();
            var part1_{k} = Complex4();
#end
            for (var t = 0u; t < staged; t++) {
                let input = s_u[t * CHANNELS + own];
                let d = s_grad_y[t * CHANNELS + own];
                part += d * input;
#for k in 0..PER
                q{k} = decayed(rate{k}, plus(q{k}, h{k}));
                h{k} = next_state(rate{k}, h{k}, input);
                part0_{k} = plus(part0_{k}, scaled(d, h{k}));
                part1_{k} = plus(part1_{k}, scaled(d, q{k}));
#end
            }
            grad_skip += part;
#for k in 0..PER
            h{k} = restored(h{k}, at{k});
            q{k} = restored(q{k}, at{k});
            w0_{k} = plus(w0_{k}, part0_{k});
            w1_{k} = plus(w1_{k}, part1_{k});
#end
        }
    }
    if first + own >= params.channels {
        return;
    }
    let matrix = params.channels * params.states;
#for k in 0..PER
#for i in 0..4
    let n{k}_{i} = 4u * ({k}u * LANES + lane) + {i}u;
    if n{k}_{i} < params.states {
        let at = slot * 4u * matrix + (first + own) * params.states + n{k}_{i};
        sums[at] = w0_{k}.re[{i}];
        sums[at + matrix] = w0_{k}.im[{i}];
        sums[at + 2u * matrix] = w1_{k}.re[{i}];
        sums[at + 3u * matrix] = w1_{k}.im[{i}];
    }
#end
#end
    if lane == 0u {
        sums[params.skip_at + slot * params.channels + first + own] = grad_skip;
    }
}
