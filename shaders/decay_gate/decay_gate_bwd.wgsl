// dy = -dg exp(A_log) sigma(y + dt_bias), and partial sums of dA_log = sum dg g and ddt_bias = sum dy.
// Workgroup p does the row groups p, p + parts, ..; 256 / LANES rows a group; grid: parts.
alias t_y = f32;
alias t_grad_y = f32;
#import lib/grid
#import lib/row
#import lib/activation

struct Params { rows: u32, h: u32, parts: u32 }

@group(0) @binding(0) var<storage, read_write> y: array<t_y>; // [rows, h]
@group(0) @binding(1) var<storage, read_write> a_log: array<f32>; // [h]
@group(0) @binding(2) var<storage, read_write> dt_bias: array<f32>; // [h]
@group(0) @binding(3) var<storage, read_write> g: array<f32>; // [rows, h]
@group(0) @binding(4) var<storage, read_write> grad_g: array<f32>; // [rows, h]
@group(0) @binding(5) var<storage, read_write> grad_y: array<t_grad_y>; // [rows, h]
@group(0) @binding(6) var<storage, read_write> grad_a_log: array<f32>; // [parts, h]
@group(0) @binding(7) var<storage, read_write> grad_dt_bias: array<f32>; // [parts, h]
@group(0) @binding(8) var<uniform> params: Params;

@compute @workgroup_size(256)
fn decay_gate_bwd(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let part = workgroup_index(wg, count);
    let lane = thread % LANES;
#for k in 0..PER
    var sums_{k} = vec2(0.0);
    var rate_{k} = 0.0;
    var bias_{k} = 0.0;
    if lane + {k}u * LANES < params.h {
        rate_{k} = -exp(a_log[lane + {k}u * LANES]);
        bias_{k} = dt_bias[lane + {k}u * LANES];
    }
#end
    for (var row = part * ROWS_AT_ONCE + thread / LANES; row < params.rows; row += params.parts * ROWS_AT_ONCE) {
#for k in 0..PER
        if lane + {k}u * LANES < params.h {
            let at = row * params.h + lane + {k}u * LANES;
            let d = grad_g[at];
            let grad_y_{k} = d * rate_{k} * sigmoid(f32(y[at]) + bias_{k});
            grad_y[at] = t_grad_y(grad_y_{k});
            sums_{k} += vec2(d * g[at], grad_y_{k});
        }
#end
    }
#for k in 0..PER
    let total_{k} = lane_sum(sums_{k}, thread);
    if thread < LANES && lane + {k}u * LANES < params.h {
        grad_a_log[part * params.h + lane + {k}u * LANES] = total_{k}.x;
        grad_dt_bias[part * params.h + lane + {k}u * LANES] = total_{k}.y;
    }
#end
}
