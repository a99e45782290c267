// dy = dg rate sigma(y + dt_bias), rate = -exp(A_log), of the first h columns; d beta strongest sigma(y) sigma(-y) of those behind
// them, if there are WRITES. Partial sums of dA_log = sum dg g, g = rate softplus(y + dt_bias), and ddt_bias = sum dy. Without RATES
// dy = dg sigma(-y - decay_bias) and d beta strongest sigma(z) sigma(-z), z = y + write_bias, with the sums of both.
// Workgroup p does the row groups p, p + parts, ..; 256 / LANES rows a group; grid: parts.
const RATES: bool = true;
const WRITES: bool = false;
alias t_y = f32;
alias t_grad_y = f32;
#import lib/grid
#import lib/row
#import lib/activation

struct Params { rows: u32, h: u32, writes: u32, strongest: f32, parts: u32 }

@group(0) @binding(0) var<storage, read_write> y: array<t_y>; // [rows, h + writes]
#if RATES
@group(0) @binding(1) var<storage, read_write> a_log: array<f32>; // [h]
#else
@group(0) @binding(1) var<storage, read_write> write_bias: array<f32>; // [writes]
#endif
@group(0) @binding(2) var<storage, read_write> decay_bias: array<f32>; // [h]
@group(0) @binding(3) var<storage, read_write> grad_g: array<f32>; // [rows, h]
#if WRITES
@group(0) @binding(4) var<storage, read_write> grad_beta: array<f32>; // [rows, writes]
#endif
@group(0) @binding(5) var<storage, read_write> grad_y: array<t_grad_y>; // [rows, h + writes]
@group(0) @binding(6) var<storage, read_write> grad_first: array<f32>; // [parts, h]: of A_log, or of decay_bias
@group(0) @binding(7) var<storage, read_write> grad_second: array<f32>; // [parts, h]: of dt_bias, or of write_bias
@group(0) @binding(8) var<uniform> params: Params;

@compute @workgroup_size(256)
fn decay_gate_bwd(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let part = workgroup_index(wg, count);
    let width = params.h + params.writes;
#for k in 0..PER
    let column_{k} = thread % LANES + {k}u * LANES;
    var sums_{k} = vec2(0.0);
    var bias_{k} = 0.0;
#if RATES
    var rate_{k} = 0.0;
#endif
    if column_{k} < params.h {
        bias_{k} = decay_bias[column_{k}];
#if RATES
        rate_{k} = -exp(a_log[column_{k}]);
#endif
    }
#if !RATES
    if column_{k} >= params.h && column_{k} < width {
        bias_{k} = write_bias[column_{k} - params.h];
    }
#endif
#end
    for (var row = part * ROWS_AT_ONCE + thread / LANES; row < params.rows; row += params.parts * ROWS_AT_ONCE) {
#for k in 0..PER
        if column_{k} < params.h {
            let here = f32(y[row * width + column_{k}]) + bias_{k};
#if RATES
            let d = grad_g[row * params.h + column_{k}] * rate_{k};
            let dy = d * sigmoid(here);
            sums_{k} += vec2(d * softplus(here), dy);
#else
            let dy = grad_g[row * params.h + column_{k}] * sigmoid(-here);
            sums_{k}.x += dy;
#endif
            grad_y[row * width + column_{k}] = t_grad_y(dy);
        }
#if WRITES
        if column_{k} >= params.h && column_{k} < width {
            let s = sigmoids(f32(y[row * width + column_{k}]) + bias_{k});
            let d = grad_beta[row * params.writes + column_{k} - params.h] * params.strongest;
            let dy = d * s.x * s.y;
#if !RATES
            sums_{k}.y += dy;
#endif
            grad_y[row * width + column_{k}] = t_grad_y(dy);
        }
#endif
#end
    }
#for k in 0..PER
    let total_{k} = lane_sum(sums_{k}, thread);
    if thread < LANES && column_{k} < params.h {
        grad_first[part * params.h + column_{k}] = total_{k}.x;
#if RATES
        grad_second[part * params.h + column_{k}] = total_{k}.y;
#endif
    }
#if !RATES
    if thread < LANES && column_{k} >= params.h && column_{k} < width {
        grad_second[part * params.h + column_{k} - params.h] = total_{k}.y;
    }
#endif
#end
}
