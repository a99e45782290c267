// stats = sum of nll * inv_tokens, windows right and not empty, windows not empty, windows right. One workgroup.
#import lib/step
#import lib/sum256

struct Params { rows: u32, windows: u32 }

@group(0) @binding(0) var<storage, read_write> nll: array<f32>;           // [B T]
@group(0) @binding(1) var<storage, read_write> windows: array<vec2<u32>>; // [B E]: first step, length
@group(0) @binding(2) var<storage, read_write> labels: array<u32>;        // [B E]
@group(0) @binding(3) var<storage, read_write> predictions: array<u32>;   // [B E]
@group(0) @binding(4) var<storage, read_write> stats: array<f32>;         // [4]
@group(0) @binding(5) var<uniform> params: Params;
@group(0) @binding(6) var<uniform> step: Step;

@compute @workgroup_size(256)
fn head_loss_stats(@builtin(local_invocation_index) lane: u32) {
    var loss = 0.0;
    for (var r = lane; r < params.rows; r += 256u) {
        loss += nll[r];
    }
    var right = 0.0;
    var filled = 0.0;
    var right_all = 0.0;
    for (var i = lane; i < params.windows; i += 256u) {
        let hit = select(0.0, 1.0, labels[i] == predictions[i]);
        let there = select(0.0, 1.0, windows[i].y > 0u);
        right += hit * there;
        filled += there;
        right_all += hit;
    }
    loss = sum256(lane, loss);
    right = sum256(lane, right);
    filled = sum256(lane, filled);
    right_all = sum256(lane, right_all);
    if lane == 0u {
        stats[0] = loss * step.inv_tokens;
        stats[1] = right;
        stats[2] = filled;
        stats[3] = right_all;
    }
}
