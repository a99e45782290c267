// dx = r (q - mean q - xh mean(q xh)), q = dy w, and partial sums of dw = sum dy xh and db = sum dy.
// Workgroup p does the row groups p, p + parts, ..; 256 / LANES rows a group; grid: parts.
#import lib/grid
#import lib/row

alias t_x = f32;
alias t_grad_y = f32;
alias t_grad_x = f32;
#if WIDE
alias a_x = vec4<t_x>;
alias a_grad_y = vec4<t_grad_y>;
alias a_grad_x = vec4<t_grad_x>;
#else
alias a_x = t_x;
alias a_grad_y = t_grad_y;
alias a_grad_x = t_grad_x;
#endif

struct Params { rows: u32, d: u32, eps: f32, parts: u32 }

@group(0) @binding(0) var<storage, read_write> x: array<a_x>; // [rows, d]
@group(0) @binding(1) var<storage, read_write> w: array<Lanes>; // [d]
@group(0) @binding(2) var<storage, read_write> offset: array<f32>; // [rows]
@group(0) @binding(3) var<storage, read_write> r: array<f32>; // [rows]
@group(0) @binding(4) var<storage, read_write> grad_y: array<a_grad_y>; // [rows, d]
@group(0) @binding(5) var<storage, read_write> grad_x: array<a_grad_x>; // [rows, d]
@group(0) @binding(6) var<storage, read_write> grad_w: array<Lanes>; // [parts, d]
@group(0) @binding(7) var<storage, read_write> grad_b: array<Lanes>; // [parts, d]
@group(0) @binding(8) var<uniform> params: Params;

@compute @workgroup_size(256)
fn layer_norm_bwd(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let part = workgroup_index(wg, count);
    let lane = thread % LANES;
    let columns = params.d / WIDTH;
#for k in 0..PER
    var grad_w_{k} = Lanes();
    var grad_b_{k} = Lanes();
#end
    for (var top = part * ROWS_AT_ONCE; top < params.rows; top += params.parts * ROWS_AT_ONCE) {
        let row = top + thread / LANES;
        let at = row * columns;
        let width = select(0u, columns, row < params.rows);
        var first = 0.0;
        var mean = 0.0;
        var scale = 0.0;
        if width > 0u {
            first = first_of(Lanes(x[at]));
            mean = offset[row];
            scale = r[row];
        }
        var sum = Lanes();
        var along = Lanes();
#for k in 0..PER
        var xh_{k} = Lanes();
        var q_{k} = Lanes();
        if lane + {k}u * LANES < width {
            xh_{k} = (Lanes(x[at + lane + {k}u * LANES]) - first - mean) * scale;
            let grad_y_{k} = Lanes(grad_y[at + lane + {k}u * LANES]);
            q_{k} = grad_y_{k} * w[lane + {k}u * LANES];
            grad_w_{k} += grad_y_{k} * xh_{k};
            grad_b_{k} += grad_y_{k};
        }
        sum += q_{k};
        along += q_{k} * xh_{k};
#end
        let means = row_sum(vec2(lanes_total(sum), lanes_total(along)), thread) / f32(params.d);
#for k in 0..PER
        if lane + {k}u * LANES < width {
            grad_x[at + lane + {k}u * LANES] = a_grad_x(scale * (q_{k} - means.x - xh_{k} * means.y));
        }
#end
    }
#for k in 0..PER
    let of_w_{k} = column_sums(grad_w_{k}, thread);
    let of_b_{k} = column_sums(grad_b_{k}, thread);
    if thread < LANES && lane + {k}u * LANES < columns {
        grad_w[part * columns + lane + {k}u * LANES] = of_w_{k};
        grad_b[part * columns + lane + {k}u * LANES] = of_b_{k};
    }
#end
}
