// stats = norm, min(1, clip / (norm + 1e-6)), halted (sticky: 1 once a norm was not finite), 0. One workgroup.
#import lib/step
#import lib/sum256

struct Params { parts: u32 }

@group(0) @binding(0) var<storage, read_write> partial_sums: array<f32>; // [parts]
@group(0) @binding(1) var<storage, read_write> stats: array<f32>;        // [4]
@group(0) @binding(2) var<uniform> params: Params;
@group(0) @binding(3) var<uniform> step: Step;

@compute @workgroup_size(256)
fn grad_norm_total(@builtin(local_invocation_index) lane: u32) {
    var sum = 0.0;
    for (var i = lane; i < params.parts; i += 256u) {
        sum += partial_sums[i];
    }
    sum = sum256(lane, sum);
    if lane == 0u {
        stats[0] = sqrt(sum);
        stats[1] = min(1.0, step.clip / (sqrt(sum) + 1e-6));
        // By bits: compilers may assume that no value is NaN or infinite.
        if (bitcast<u32>(sum) & 0x7f800000u) == 0x7f800000u {
            stats[2] = 1.0;
        }
        stats[3] = 0.0;
    }
}
