// loss = inv_tokens sum_r nll_r. One workgroup.
#import lib/step
#import lib/sum256

struct Params { rows: u32 }

@group(0) @binding(0) var<storage, read_write> nll: array<f32>;  // [rows]
@group(0) @binding(1) var<storage, read_write> loss: array<f32>; // [1]
@group(0) @binding(2) var<uniform> params: Params;
@group(0) @binding(3) var<uniform> step: Step;

@compute @workgroup_size(256)
fn cross_entropy_loss(@builtin(local_invocation_index) lane: u32) {
    var sum = 0.0;
    for (var r = lane; r < params.rows; r += 256u) {
        sum += nll[r];
    }
    sum = sum256(lane, sum);
    if lane == 0u {
        loss[0] = sum * step.inv_tokens;
    }
}
