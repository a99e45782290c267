// y = xh w + b, xh = (x - x_0 - offset) r; saved: offset = mean(x - x_0) and r = (var + eps)^-1/2 of each row. SUM:
// x = residual + mask z / (1 - p), which is left as well.
// A workgroup does 256 / LANES rows; grid: ops::grid_1d over those groups.
#import lib/grid
#import lib/row

const SUM: bool = false;
alias t_x = f32;
alias t_y = f32;
#if WIDE
alias a_x = vec4<t_x>;
alias a_y = vec4<t_y>;
#else
alias a_x = t_x;
alias a_y = t_y;
#endif

struct Params { rows: u32, d: u32, eps: f32, parts: u32, tag: u32, threshold: u32, scale: f32 }

@group(0) @binding(0) var<storage, read_write> x: array<a_x>; // [rows, d]
@group(0) @binding(1) var<storage, read_write> w: array<Lanes>; // [d]
@group(0) @binding(2) var<storage, read_write> b: array<Lanes>; // [d]
@group(0) @binding(3) var<storage, read_write> y: array<a_y>; // [rows, d]
@group(0) @binding(4) var<storage, read_write> stats: array<vec2<f32>>; // [rows]: offset, r
@group(0) @binding(5) var<uniform> params: Params;
#if SUM
#import lib/keep

alias t_residual = f32;
alias t_z = f32;
#if WIDE
alias a_residual = vec4<t_residual>;
alias a_z = vec4<t_z>;
#else
alias a_residual = t_residual;
alias a_z = t_z;
#endif

@group(0) @binding(6) var<storage, read_write> residual: array<a_residual>; // [rows, d]
@group(0) @binding(7) var<storage, read_write> z: array<a_z>; // [rows, d]
@group(0) @binding(8) var<uniform> step: Step;

// x as it is stored.
fn load(row: u32, column: u32) -> a_x {
    let at = row * (params.d / WIDTH) + column;
    let kept = kept_lanes(column, row, params.tag, params.threshold);
    let scale = select(1.0, params.scale, step.dropout_on != 0u);
    return a_x(Lanes(residual[at]) + select(Lanes(), Lanes(z[at]) * scale, kept));
}
#else

fn load(row: u32, column: u32) -> a_x {
    return x[row * (params.d / WIDTH) + column];
}
#endif

@compute @workgroup_size(256)
fn layer_norm_fwd(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let row = workgroup_index(wg, count) * ROWS_AT_ONCE + thread / LANES;
    let lane = thread % LANES;
    let columns = params.d / WIDTH;
    let at = row * columns;
    let width = select(0u, columns, row < params.rows);
    var first = 0.0;
    if width > 0u {
        first = first_of(Lanes(load(row, 0u)));
    }
    var sum = Lanes();
#for k in 0..PER
    var x_{k} = Lanes();
    if lane + {k}u * LANES < width {
        let stored = load(row, lane + {k}u * LANES);
#if SUM
        x[at + lane + {k}u * LANES] = stored;
#endif
        x_{k} = Lanes(stored) - first;
    }
    sum += x_{k};
#end
    let mean = row_sum(vec2(lanes_total(sum), 0.0), thread).x / f32(params.d);
    var squares = Lanes();
#for k in 0..PER
    if lane + {k}u * LANES < width {
        x_{k} -= mean;
    }
    squares += x_{k} * x_{k};
#end
    let scale = 1.0 / sqrt(row_sum(vec2(lanes_total(squares), 0.0), thread).x / f32(params.d) + params.eps);
    if lane < min(width, 1u) {
        stats[row] = vec2(mean, scale);
    }
#for k in 0..PER
    if lane + {k}u * LANES < width {
        y[at + lane + {k}u * LANES] = a_y(x_{k} * scale * w[lane + {k}u * LANES] + b[lane + {k}u * LANES]);
    }
#end
}
