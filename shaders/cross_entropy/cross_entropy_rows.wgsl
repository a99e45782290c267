// lse_r = ln sum_c exp(z_rc) and nll_r = lse_r - z_r,label (0 where the label is no class).
// A workgroup a row; grid: ops::grid_1d over the rows. Source: models.md 4.11.
#import lib/grid
#import lib/sum256

alias t_z = f32;

struct Params { rows: u32, classes: u32 }

@group(0) @binding(0) var<storage, read_write> z: array<t_z>;      // [rows, K]
@group(0) @binding(1) var<storage, read_write> labels: array<u32>; // [rows]
@group(0) @binding(2) var<storage, read_write> lse: array<f32>;    // [rows]
@group(0) @binding(3) var<storage, read_write> nll: array<f32>;    // [rows]
@group(0) @binding(4) var<uniform> params: Params;

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
    let base = row * params.classes;
    var top = -3.4e38;
    for (var c = lane; c < params.classes; c += 256u) {
        top = max(top, f32(z[base + c]));
    }
    top = max256(lane, top);
    var sum = 0.0;
    for (var c = lane; c < params.classes; c += 256u) {
        sum += exp(f32(z[base + c]) - top);
    }
    sum = sum256(lane, sum);
    if lane == 0u {
        let value = top + log(sum);
        lse[row] = value;
        let label = labels[row];
        var loss = 0.0;
        if label < params.classes {
            loss = value - f32(z[base + label]);
        }
        nll[row] = loss;
    }
}
