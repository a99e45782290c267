// prediction = argmax_c sum over the window's steps of exp(z_tc - lse_t), ties to the lowest class.
// A workgroup a window, WIDE by quads; grid: ops::grid_1d over the windows. Source: models.md 4.12.
#import lib/grid
#import lib/wide

alias t_z = f32;
#if WIDE
alias a_z = vec4<t_z>;
#else
alias a_z = t_z;
#endif

struct Params { t: u32, e: u32, classes: u32, windows: u32, first: u32, z_row: u32 } // z_row: elements of a row of z

@group(0) @binding(0) var<storage, read_write> z: array<a_z>;              // [b T, z_row] of these sequences
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
    let columns = params.z_row / WIDTH;
    for (var c = lane; c < columns; c += 256u) {
        var sum = Lanes();
        for (var i = 0u; i < steps; i += 1u) {
            sum += exp(Lanes(z[(row0 + i) * columns + c]) - lse[row0 + i]);
        }
#if WIDE
#for e in 0..4
        if sum[{e}] > top && c * 4u + {e}u < params.classes {
            top = sum[{e}];
            which = c * 4u + {e}u;
        }
#end
#else
        if sum > top {
            top = sum;
            which = c;
        }
#endif
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
