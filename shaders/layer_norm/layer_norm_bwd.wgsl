// dx = r (q - mean q - xh mean(q xh)), q = dy w, and partial sums of dw = sum dy xh and db = sum dy.
// Workgroup p does the row groups p, p + parts, ..; 256 / LANES rows a group; grid: parts.
#import lib/grid
#import lib/row

alias t_x = f32;
alias t_grad_y = f32;
alias t_grad_x = f32;

struct Params { rows: u32, d: u32, eps: f32, parts: u32 }

@group(0) @binding(0) var<storage, read_write> x: array<t_x>; // [rows, d]
@group(0) @binding(1) var<storage, read_write> w: array<f32>; // [d]
@group(0) @binding(2) var<storage, read_write> offset: array<f32>; // [rows]
@group(0) @binding(3) var<storage, read_write> r: array<f32>; // [rows]
@group(0) @binding(4) var<storage, read_write> grad_y: array<t_grad_y>; // [rows, d]
@group(0) @binding(5) var<storage, read_write> grad_x: array<t_grad_x>; // [rows, d]
@group(0) @binding(6) var<storage, read_write> grad_w: array<f32>; // [parts, d]
@group(0) @binding(7) var<storage, read_write> grad_b: array<f32>; // [parts, d]
@group(0) @binding(8) var<uniform> params: Params;

@compute @workgroup_size(256)
fn layer_norm_bwd(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let part = workgroup_index(wg, count);
    let lane = thread % LANES;
#for k in 0..PER
    var dw_db_{k} = vec2(0.0);
#end
    for (var top = part * ROWS_AT_ONCE; top < params.rows; top += params.parts * ROWS_AT_ONCE) {
        let row = top + thread / LANES;
        let at = row * params.d;
        let width = select(0u, params.d, row < params.rows);
        var first = 0.0;
        var mean = 0.0;
        var scale = 0.0;
        if width > 0u {
            first = f32(x[at]);
            mean = offset[row];
            scale = r[row];
        }
        var sums = vec2(0.0);
#for k in 0..PER
        var xh_{k} = 0.0;
        var q_{k} = 0.0;
        if lane + {k}u * LANES < width {
            xh_{k} = (f32(x[at + lane + {k}u * LANES]) - first - mean) * scale;
            let grad_y_{k} = f32(grad_y[at + lane + {k}u * LANES]);
            q_{k} = grad_y_{k} * w[lane + {k}u * LANES];
            dw_db_{k} += vec2(grad_y_{k} * xh_{k}, grad_y_{k});
        }
        sums += vec2(q_{k}, q_{k} * xh_{k});
#end
        let means = row_sum(sums, thread) / f32(params.d);
#for k in 0..PER
        if lane + {k}u * LANES < width {
            grad_x[at + lane + {k}u * LANES] = t_grad_x(scale * (q_{k} - means.x - xh_{k} * means.y));
        }
#end
    }
#for k in 0..PER
    let sum_{k} = lane_sum(dw_db_{k}, thread);
    if thread < LANES && lane + {k}u * LANES < params.d {
        grad_w[part * params.d + lane + {k}u * LANES] = sum_{k}.x;
        grad_b[part * params.d + lane + {k}u * LANES] = sum_{k}.y;
    }
#end
}
