// Gradients of x (and g) and partial sums of dw. With t = dL/d(m s): dm = s (t - m s mean(t m s)); for KIND 1
// dm = s t - m s mean(t m s) / root. Names and kinds as in rms_norm_fwd.
// Workgroup p does the row groups p, p + parts, ..; 256 / LANES rows a group; grid: parts.
#import lib/grid
#import lib/row
#import lib/activation_lanes

const KIND: u32 = 0;
const GATED: bool = false;

alias t_x = f32;
alias t_g = f32;
alias t_grad_y = f32;
alias t_grad_x = f32;
alias t_grad_g = f32;
#if WIDE
alias a_x = vec4<t_x>;
alias a_g = vec4<t_g>;
alias a_grad_y = vec4<t_grad_y>;
alias a_grad_x = vec4<t_grad_x>;
alias a_grad_g = vec4<t_grad_g>;
#else
alias a_x = t_x;
alias a_g = t_g;
alias a_grad_y = t_grad_y;
alias a_grad_x = t_grad_x;
alias a_grad_g = t_grad_g;
#endif

struct Params { rows: u32, d: u32, eps: f32, parts: u32 }

@group(0) @binding(0) var<storage, read_write> x: array<a_x>; // [rows, d]
@group(0) @binding(1) var<storage, read_write> w: array<Lanes>; // [d]
@group(0) @binding(2) var<storage, read_write> saved: array<f32>; // [rows]
@group(0) @binding(3) var<storage, read_write> grad_y: array<a_grad_y>; // [rows, d]
@group(0) @binding(4) var<storage, read_write> grad_x: array<a_grad_x>; // [rows, d]
@group(0) @binding(5) var<storage, read_write> grad_w: array<Lanes>; // [parts, d]
#if GATED
@group(0) @binding(6) var<storage, read_write> g: array<a_g>; // [rows, d]
@group(0) @binding(7) var<storage, read_write> grad_g: array<a_grad_g>; // [rows, d]
#endif
@group(0) @binding(8) var<uniform> params: Params;

fn gate(g: Lanes) -> Lanes {
#if KIND == 4
    return sigmoid_lanes(g);
#else
    return silu_lanes(g);
#endif
}

fn gate_slope(g: Lanes) -> Lanes {
#if KIND == 4
    return sigmoid_lanes(g) * sigmoid_lanes(-g);
#else
    return silu_slope_lanes(g);
#endif
}

@compute @workgroup_size(256)
fn rms_norm_bwd(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let part = workgroup_index(wg, count);
    let lane = thread % LANES;
    let columns = params.d / WIDTH;
#for k in 0..PER
    var grad_w_{k} = Lanes();
#end
    for (var first = part * ROWS_AT_ONCE; first < params.rows; first += params.parts * ROWS_AT_ONCE) {
        let row = first + thread / LANES;
        let at = row * columns;
        let width = select(0u, columns, row < params.rows);
        var scale = 0.0;
        var per_root = 0.0;
        if width > 0u {
            scale = saved[row];
#if KIND == 1
            let root = scale;
            scale = 1.0 / (root + params.eps);
            if root > 0.0 {
                per_root = 1.0 / root;
            }
#else
            per_root = scale;
#endif
        }
        var sum = Lanes();
#for k in 0..PER
        var m_{k} = Lanes(); // normalised
        var t_{k} = Lanes();
        if lane + {k}u * LANES < width {
            m_{k} = Lanes(x[at + lane + {k}u * LANES]) * scale;
            let grad_y_{k} = Lanes(grad_y[at + lane + {k}u * LANES]);
#if KIND == 2 || KIND == 4
            let g_{k} = Lanes(g[at + lane + {k}u * LANES]);
            let past_gate_{k} = grad_y_{k} * gate(g_{k});
            t_{k} = past_gate_{k} * w[lane + {k}u * LANES];
            let of_norm_{k} = grad_y_{k} * m_{k} * w[lane + {k}u * LANES];
            grad_g[at + lane + {k}u * LANES] = a_grad_g(of_norm_{k} * gate_slope(g_{k}));
            grad_w_{k} += past_gate_{k} * m_{k};
#else
#if KIND == 3
            m_{k} *= silu_lanes(Lanes(g[at + lane + {k}u * LANES]));
#endif
            t_{k} = grad_y_{k} * w[lane + {k}u * LANES];
            grad_w_{k} += grad_y_{k} * m_{k};
#endif
        }
        sum += t_{k} * m_{k};
#end
        let along = row_sum(vec2(lanes_total(sum), 0.0), thread).x / f32(params.d) * per_root;
#for k in 0..PER
        if lane + {k}u * LANES < width {
            let grad_m_{k} = scale * t_{k} - m_{k} * along;
#if KIND == 3
            let g_{k} = Lanes(g[at + lane + {k}u * LANES]);
            let of_gated_{k} = grad_m_{k} * Lanes(x[at + lane + {k}u * LANES]);
            grad_g[at + lane + {k}u * LANES] = a_grad_g(of_gated_{k} * silu_slope_lanes(g_{k}));
            grad_x[at + lane + {k}u * LANES] = a_grad_x(grad_m_{k} * silu_lanes(g_{k}));
#else
            grad_x[at + lane + {k}u * LANES] = a_grad_x(grad_m_{k});
#endif
        }
#end
    }
#for k in 0..PER
    let of_w_{k} = column_sums(grad_w_{k}, thread);
    if thread < LANES && lane + {k}u * LANES < columns {
        grad_w[part * columns + lane + {k}u * LANES] = of_w_{k};
    }
#end
}
