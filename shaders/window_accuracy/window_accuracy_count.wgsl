// counts = windows right and not empty, windows not empty, windows right, all windows. One workgroup.
#import lib/sum256

struct Params { windows: u32 }

@group(0) @binding(0) var<storage, read_write> windows: array<vec2<u32>>; // [B E]: first step, length
@group(0) @binding(1) var<storage, read_write> labels: array<u32>;        // [B E]
@group(0) @binding(2) var<storage, read_write> predictions: array<u32>;   // [B E]
@group(0) @binding(3) var<storage, read_write> counts: array<f32>;        // [4]
@group(0) @binding(4) var<uniform> params: Params;

@compute @workgroup_size(256)
fn window_accuracy_count(@builtin(local_invocation_index) lane: u32) {
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
    right = sum256(lane, right);
    filled = sum256(lane, filled);
    right_all = sum256(lane, right_all);
    if lane == 0u {
        counts[0] = right;
        counts[1] = filled;
        counts[2] = right_all;
        counts[3] = f32(params.windows);
    }
}
