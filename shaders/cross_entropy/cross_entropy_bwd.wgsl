// dz = dloss inv_tokens (exp(z - lse) - [c = label]), 0 in masked rows. IN_PLACE: dz replaces z. Without FACTOR dloss = 1.
// A thread an element; grid: ops::grid_1d over ceil(rows row / 256) workgroups. Source: models.md 4.11.
#import lib/grid
#import lib/step

const IN_PLACE: bool = false;
const FACTOR: bool = true;
alias t_z = f32;
alias t_grad_z = f32;

struct Params { rows: u32, classes: u32, row: u32 } // elements of a row of dz: zeros behind the classes

@group(0) @binding(0) var<storage, read_write> z: array<t_z>;      // [rows, K]
@group(0) @binding(1) var<storage, read_write> labels: array<u32>; // [rows]
@group(0) @binding(2) var<storage, read_write> lse: array<f32>;    // [rows]
#if FACTOR
@group(0) @binding(3) var<storage, read_write> dloss: array<f32>;  // [1], or more of which the first counts
#endif
#if !IN_PLACE
@group(0) @binding(4) var<storage, read_write> grad_z: array<t_grad_z>; // [rows, row]
#endif
@group(0) @binding(5) var<uniform> params: Params;
@group(0) @binding(6) var<uniform> step: Step;

@compute @workgroup_size(256)
fn cross_entropy_bwd(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = workgroup_index(wg, count) * 256u + lane;
    if i >= params.rows * params.row {
        return;
    }
    let row = i / params.row;
    let column = i % params.row;
    let at = row * params.classes + column;
    let label = labels[row];
    var weight = step.inv_tokens;
#if FACTOR
    weight *= dloss[0];
#endif
    var value = 0.0;
    if label < params.classes && column < params.classes {
        let hit = select(0.0, 1.0, label == column);
        value = weight * (exp(f32(z[at]) - lse[row]) - hit);
    }
#if IN_PLACE
    z[i] = t_z(value);
#else
    grad_z[i] = t_grad_z(value);
#endif
}
