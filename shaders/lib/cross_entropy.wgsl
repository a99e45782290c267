// The gradient of logits. The importing file declares `t_z` and has the bindings of `z` and, by `dloss`, of what it is times
// of (FACTOR).
#import lib/step

const FACTOR: bool = false;
alias t_grad_z = f32;

struct Params { rows: u32, classes: u32, row: u32 } // elements of a row of dz: zeros behind the classes

#if FACTOR
@group(0) @binding(6) var<storage, read_write> dloss: array<f32>; // [1], or more of which the first counts
#endif
@group(0) @binding(7) var<uniform> step: Step;

// dz at (row, column), of the label and the lse of its row.
fn gradient_at(row: u32, column: u32, label: u32, lse: f32) -> f32 {
    var weight = step.inv_tokens;
#if FACTOR
    weight *= dloss[0];
#endif
    if label >= params.classes || column >= params.classes {
        return 0.0;
    }
    let hit = select(0.0, 1.0, label == column);
    return weight * (exp(f32(z[row * params.classes + column]) - lse) - hit);
}
