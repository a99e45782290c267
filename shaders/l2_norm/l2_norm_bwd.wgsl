// dx = r (dy - y (y . dy)). A workgroup does 256 / LANES rows; grid: ops::grid_1d over those groups.
#import lib/grid
#import lib/row

alias t_y = f32;
alias t_grad_y = f32;
alias t_grad_x = f32;
#if WIDE
alias a_y = vec4<t_y>;
alias a_grad_y = vec4<t_grad_y>;
alias a_grad_x = vec4<t_grad_x>;
#else
alias a_y = t_y;
alias a_grad_y = t_grad_y;
alias a_grad_x = t_grad_x;
#endif

struct Params { rows: u32, d: u32, eps: f32 }

@group(0) @binding(0) var<storage, read_write> y: array<a_y>; // [rows, d]
@group(0) @binding(1) var<storage, read_write> r: array<f32>; // [rows]
@group(0) @binding(2) var<storage, read_write> grad_y: array<a_grad_y>; // [rows, d]
@group(0) @binding(3) var<storage, read_write> grad_x: array<a_grad_x>; // [rows, d]
@group(0) @binding(4) var<uniform> params: Params;

@compute @workgroup_size(256)
fn l2_norm_bwd(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let row = workgroup_index(wg, count) * ROWS_AT_ONCE + thread / LANES;
    let lane = thread % LANES;
    let columns = params.d / WIDTH;
    let at = row * columns;
    let width = select(0u, columns, row < params.rows);
    var sum = Lanes();
#for k in 0..PER
    var y_{k} = Lanes();
    var grad_y_{k} = Lanes();
    if lane + {k}u * LANES < width {
        y_{k} = Lanes(y[at + lane + {k}u * LANES]);
        grad_y_{k} = Lanes(grad_y[at + lane + {k}u * LANES]);
    }
    sum += y_{k} * grad_y_{k};
#end
    let along = row_sum(vec2(lanes_total(sum), 0.0), thread).x;
    if width > 0u {
        let scale = r[row];
#for k in 0..PER
        if lane + {k}u * LANES < width {
            grad_x[at + lane + {k}u * LANES] = a_grad_x(scale * (grad_y_{k} - y_{k} * along));
        }
#end
    }
}
