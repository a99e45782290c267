// dz = dloss inv_tokens (exp(z - lse) - [c = label]), 0 in masked rows. IN_PLACE: dloss = 1 and dz replaces z.
// A thread an element; grid: ops::grid_1d over ceil(rows K / 256) workgroups. Source: models.md 4.11.
#import lib/grid
#import lib/step

const IN_PLACE: bool = false;
alias t_z = f32;
alias t_grad_z = f32;

struct Params { rows: u32, classes: u32 }

@group(0) @binding(0) var<storage, read_write> z: array<t_z>;      // [rows, K]
@group(0) @binding(1) var<storage, read_write> labels: array<u32>; // [rows]
@group(0) @binding(2) var<storage, read_write> lse: array<f32>;    // [rows]
#if IN_PLACE
@group(0) @binding(3) var<uniform> params: Params;
@group(0) @binding(4) var<uniform> step: Step;
#else
@group(0) @binding(3) var<storage, read_write> dloss: array<f32>; // [1]
@group(0) @binding(4) var<storage, read_write> grad_z: array<t_grad_z>;   // [rows, K]
@group(0) @binding(5) var<uniform> params: Params;
@group(0) @binding(6) var<uniform> step: Step;
#endif

@compute @workgroup_size(256)
fn cross_entropy_bwd(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = workgroup_index(wg, count) * 256u + lane;
    if i >= params.rows * params.classes {
        return;
    }
    let row = i / params.classes;
    let label = labels[row];
    var weight = step.inv_tokens;
#if !IN_PLACE
    weight *= dloss[0];
#endif
    var value = 0.0;
    if label < params.classes {
        let hit = select(0.0, 1.0, label == i % params.classes);
        value = weight * (exp(f32(z[i]) - lse[row]) - hit);
    }
#if IN_PLACE
    z[i] = t_z(value);
#else
    grad_z[i] = t_grad_z(value);
#endif
}
