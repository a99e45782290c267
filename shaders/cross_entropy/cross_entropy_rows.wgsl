// lse_r = ln sum_c exp(z_rc) and nll_r = lse_r - z_r,label (0 where the label is no class); with GRADIENT dz as in
// cross_entropy_bwd, while the row is at hand. A workgroup a row, WIDE by quads; grid: ops::grid_1d over the rows.
// Source: models.md 4.11.
#import lib/grid
#import lib/cross_entropy
#import lib/sum256
#import lib/wide

const GRADIENT: bool = false;
alias t_z = f32;
#if WIDE
alias a_z = vec4<t_z>;
alias a_grad_z = vec4<t_grad_z>;
#else
alias a_z = t_z;
alias a_grad_z = t_grad_z;
#endif

@group(0) @binding(0) var<storage, read_write> z: array<a_z>;      // [rows, z_row]
@group(0) @binding(1) var<storage, read_write> labels: array<u32>; // [rows]
@group(0) @binding(2) var<storage, read_write> lse: array<f32>;    // [rows]
@group(0) @binding(3) var<storage, read_write> nll: array<f32>;    // [rows]
#if GRADIENT
@group(0) @binding(4) var<storage, read_write> grad_z: array<a_grad_z>; // [rows, row]
#endif
@group(0) @binding(5) var<uniform> params: Params;

// What a thread has at `at`, `otherwise` where that is behind the classes.
fn logits(at: u32, column: u32, otherwise: f32) -> Lanes {
#if WIDE
    let there = vec4<u32>(column * 4u) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(params.classes);
#else
    let there = column < params.classes;
#endif
    return select(Lanes(otherwise), Lanes(z[at]), there);
}

@compute @workgroup_size(256)
fn cross_entropy_rows(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let row = workgroup_index(wg, count);
    if row >= params.rows {
        return;
    }
    let columns = params.z_row / WIDTH;
    let base = row * columns;
    var high = Lanes(-3.4e38);
    for (var c = lane; c < columns; c += 256u) {
        high = max(high, logits(base + c, c, -3.4e38));
    }
#if WIDE
    let top = max256(lane, max(max(high.x, high.y), max(high.z, high.w)));
#else
    let top = max256(lane, high);
#endif
    var sum = Lanes();
    for (var c = lane; c < columns; c += 256u) {
        sum += exp(logits(base + c, c, -3.4e38) - top);
    }
    let value = top + log(sum256(lane, lanes_total(sum)));
    let label = labels[row];
    if lane == 0u {
        lse[row] = value;
        var loss = 0.0;
        if label < params.classes {
#if WIDE
            loss = value - f32(z[base + label / 4u][label % 4u]);
#else
            loss = value - f32(z[base + label]);
#endif
        }
        nll[row] = loss;
    }
#if GRADIENT
    let grad_columns = params.row / WIDTH;
    for (var c = lane; c < grad_columns; c += 256u) {
        let x = logits(base + c, c, 0.0);
#if WIDE
#for e in 0..4
        let grad{e} = gradient_of(x[{e}], c * 4u + {e}u, label, value);
#end
        grad_z[row * grad_columns + c] = a_grad_z(vec4(grad0, grad1, grad2, grad3));
#else
        grad_z[row * grad_columns + c] = a_grad_z(gradient_of(x, c, label, value));
#endif
    }
#endif
}
