// The gradient of logits. The importing file has the binding, by `dloss`, of what it is times of (FACTOR).
#import lib/step

const FACTOR: bool = false;
alias t_grad_z = f32;

// row, z_row: elements of a row of dz, with zeros behind the classes, and of z
struct Params { rows: u32, classes: u32, row: u32, z_row: u32 }

#if FACTOR
@group(0) @binding(6) var<storage, read_write> dloss: array<f32>; // [1], or more of which the first counts
#endif
@group(0) @binding(7) var<uniform> step: Step;

// dz of a logit, of its column and the label and the lse of its row.
fn gradient_of(z: f32, column: u32, label: u32, lse: f32) -> f32 {
    var weight = step.inv_tokens;
#if FACTOR
    weight *= dloss[0];
#endif
    if label >= params.classes || column >= params.classes {
        return 0.0;
    }
    let hit = select(0.0, 1.0, label == column);
    return weight * (exp(z - lse) - hit);
}
