// dx = r (q - mean q - xh mean(q xh)), q = dy w, and partial sums of dw = sum dy xh and db = sum dy. SUM: dz = mask dx / (1 - p).
// Workgroup p does the row groups p, p + parts, ..; 256 / LANES rows a group; grid: parts.
#import lib/grid
#import lib/row

const SUM: bool = false;
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

struct Params { rows: u32, d: u32, eps: f32, parts: u32, tag: u32, threshold: u32, scale: f32 }

@group(0) @binding(0) var<storage, read_write> x: array<a_x>; // [rows, d]
@group(0) @binding(1) var<storage, read_write> w: array<Lanes>; // [d]
@group(0) @binding(2) var<storage, read_write> stats: array<vec2<f32>>; // [rows]: offset, r
@group(0) @binding(3) var<storage, read_write> grad_y: array<a_grad_y>; // [rows, d]
@group(0) @binding(4) var<storage, read_write> grad_x: array<a_grad_x>; // [rows, d]
@group(0) @binding(5) var<storage, read_write> grad_w: array<Lanes>; // [parts, d]
@group(0) @binding(6) var<storage, read_write> grad_b: array<Lanes>; // [parts, d]
@group(0) @binding(7) var<uniform> params: Params;
#if SUM
#import lib/keep

alias t_grad_z = f32;
#if WIDE
alias a_grad_z = vec4<t_grad_z>;
#else
alias a_grad_z = t_grad_z;
#endif

@group(0) @binding(8) var<storage, read_write> grad_z: array<a_grad_z>; // [rows, d]
@group(0) @binding(9) var<uniform> step: Step;
#endif

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
    // A group's rows are asked for before the barriers of the one before; behind the last row the first is read, and not used.
    var row = part * ROWS_AT_ONCE + thread / LANES;
    var there = select(0u, row, row < params.rows);
    var first = x[there * columns];
    var of_row = stats[there];
#for k in 0..PER
    let column_{k} = select(0u, lane + {k}u * LANES, lane + {k}u * LANES < columns);
    var x_{k} = x[there * columns + column_{k}];
    var dy_{k} = grad_y[there * columns + column_{k}];
#end
#if SUM
    let rest = select(1.0, params.scale, step.dropout_on != 0u);
#endif
    for (var top = part * ROWS_AT_ONCE; top < params.rows; top += params.parts * ROWS_AT_ONCE) {
        let here = there * columns;
        let width = select(0u, columns, row < params.rows);
        let mean = of_row.x;
        let factor = of_row.y;
#if SUM
        let mask_row = row;
#endif
        var sum = Lanes();
        var along = Lanes();
#for k in 0..PER
        var xh_{k} = Lanes();
        var q_{k} = Lanes();
        if lane + {k}u * LANES < width {
            xh_{k} = (Lanes(x_{k}) - first_of(Lanes(first)) - mean) * factor;
            let grad_y_{k} = Lanes(dy_{k});
            q_{k} = grad_y_{k} * w[lane + {k}u * LANES];
            grad_w_{k} += grad_y_{k} * xh_{k};
            grad_b_{k} += grad_y_{k};
        }
        sum += q_{k};
        along += q_{k} * xh_{k};
#end
        row += params.parts * ROWS_AT_ONCE;
        there = select(0u, row, row < params.rows);
        first = x[there * columns];
        of_row = stats[there];
#for k in 0..PER
        x_{k} = x[there * columns + column_{k}];
        dy_{k} = grad_y[there * columns + column_{k}];
#end
        let means = row_sum(vec2(lanes_total(sum), lanes_total(along)), thread) / f32(params.d);
#for k in 0..PER
        if lane + {k}u * LANES < width {
            let dx = a_grad_x(factor * (q_{k} - means.x - xh_{k} * means.y));
            grad_x[here + lane + {k}u * LANES] = dx;
#if SUM
            let kept = kept_lanes(lane + {k}u * LANES, mask_row, params.tag, params.threshold);
            grad_z[here + lane + {k}u * LANES] = a_grad_z(select(Lanes(), Lanes(dx) * rest, kept));
#endif
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
