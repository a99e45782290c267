// y = m s w (times silu(g) for KIND 2, sigma(g) for KIND 4), m = x (x silu(g) for KIND 3), s = (mean m^2 + eps)^-1/2, for KIND 1
// 1 / (sqrt(mean m^2) + eps). `saved` is s, for KIND 1 the root. Kinds: `rms_norm::Kind`.
// A workgroup does 256 / LANES rows; grid: ops::grid_1d over those groups.
#import lib/grid
#import lib/row
#import lib/activation_lanes

const KIND: u32 = 0;
const GATED: bool = false;

alias t_x = f32;
alias t_g = f32;
alias t_y = f32;
#if WIDE
alias a_x = vec4<t_x>;
alias a_g = vec4<t_g>;
alias a_y = vec4<t_y>;
#else
alias a_x = t_x;
alias a_g = t_g;
alias a_y = t_y;
#endif

struct Params { rows: u32, d: u32, eps: f32, parts: u32 }

@group(0) @binding(0) var<storage, read_write> x: array<a_x>; // [rows, d]
#if GATED
@group(0) @binding(1) var<storage, read_write> g: array<a_g>; // [rows, d]
#endif
@group(0) @binding(2) var<storage, read_write> w: array<Lanes>; // [d]
@group(0) @binding(3) var<storage, read_write> y: array<a_y>; // [rows, d]
@group(0) @binding(4) var<storage, read_write> saved: array<f32>; // [rows]
@group(0) @binding(5) var<uniform> params: Params;

fn gate(g: Lanes) -> Lanes {
#if KIND == 4
    return sigmoid_lanes(g);
#else
    return silu_lanes(g);
#endif
}

@compute @workgroup_size(256)
fn rms_norm_fwd(
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
    var m_{k} = Lanes();
    if lane + {k}u * LANES < width {
        m_{k} = Lanes(x[at + lane + {k}u * LANES]);
#if KIND == 3
        m_{k} *= silu_lanes(Lanes(g[at + lane + {k}u * LANES]));
#endif
    }
    sum += m_{k} * m_{k};
#end
    let mean = row_sum(vec2(lanes_total(sum), 0.0), thread).x / f32(params.d);
#if KIND == 1
    let keep = sqrt(mean);
    let scale = 1.0 / (keep + params.eps);
#else
    let keep = 1.0 / sqrt(mean + params.eps);
    let scale = keep;
#endif
    if lane < min(width, 1u) {
        saved[row] = keep;
    }
#for k in 0..PER
    if lane + {k}u * LANES < width {
        var y_{k} = m_{k} * scale * w[lane + {k}u * LANES];
#if KIND == 2 || KIND == 4
        y_{k} *= gate(Lanes(g[at + lane + {k}u * LANES]));
#endif
        y[at + lane + {k}u * LANES] = a_y(y_{k});
    }
#end
}
