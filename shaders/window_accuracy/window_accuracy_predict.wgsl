// prediction = argmax_c sum over the window's steps of exp(z_tc - lse_t), ties to the lowest class.
// A workgroup a window; grid: ops::grid_1d over the windows. Source: models.md 4.12.
#import lib/grid

alias t_z = f32;

struct Params { t: u32, e: u32, classes: u32, windows: u32, first: u32 }

@group(0) @binding(0) var<storage, read_write> z: array<t_z>;              // [b T, K] of these sequences
@group(0) @binding(1) var<storage, read_write> lse: array<f32>;            // [b T] of these sequences
@group(0) @binding(2) var<storage, read_write> windows: array<vec2<u32>>;  // [B E]: first step, length
@group(0) @binding(3) var<storage, read_write> predictions: array<u32>;    // [B E]
@group(0) @binding(4) var<uniform> params: Params;

var<workgroup> best_sum: array<f32, 256>;
var<workgroup> best_class: array<u32, 256>;

@compute @workgroup_size(256)
fn window_accuracy_predict(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let local = workgroup_index(wg, count);
    if local >= params.windows {
        return;
    }
    let window = windows[params.first + local];
    // Whatever the windows say, no step beyond the sequence is read.
    let first = min(window.x, params.t);
    let steps = min(window.y, params.t - first);
    let row0 = (local / params.e) * params.t + first;
    var top = -1.0;
    var which = 0u;
    for (var c = lane; c < params.classes; c += 256u) {
        var sum = 0.0;
        for (var i = 0u; i < steps; i += 1u) {
            sum += exp(f32(z[(row0 + i) * params.classes + c]) - lse[row0 + i]);
        }
        if sum > top {
            top = sum;
            which = c;
        }
    }
    best_sum[lane] = top;
    best_class[lane] = which;
    workgroupBarrier();
    for (var half = 128u; half > 0u; half /= 2u) {
        if lane < half {
            let other = best_sum[lane + half];
            let class_ = best_class[lane + half];
            if other > best_sum[lane] || (other == best_sum[lane] && class_ < best_class[lane]) {
                best_sum[lane] = other;
                best_class[lane] = class_;
            }
        }
        workgroupBarrier();
    }
    if lane == 0u {
        predictions[params.first + local] = best_class[0];
    }
}
