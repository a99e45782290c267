// stats = norm, min(1, clip / (norm + 1e-6)), halted (sticky: 1 once a norm was not finite), skipped. SCALED: the gradients
// are times the loss scale, which is halved and the update skipped where they are not finite, and doubled after many
// updates that were. One workgroup.
#import lib/step
#import lib/update_stats
#import lib/sum256

const SCALED: bool = false;

struct Params { parts: u32, growth: f32, largest: f32 }

@group(0) @binding(0) var<storage, read_write> partial_sums: array<f32>; // [parts]
@group(0) @binding(1) var<storage, read_write> stats: array<f32>;        // [4]
@group(0) @binding(2) var<uniform> params: Params;
@group(0) @binding(3) var<uniform> step: Step;
#if SCALED
@group(0) @binding(4) var<storage, read_write> scale: array<f32>;        // [4]: scale, updates since, skipped, 0
#endif

@compute @workgroup_size(256)
fn grad_norm_total(@builtin(local_invocation_index) lane: u32) {
    var sum = 0.0;
    for (var i = lane; i < params.parts; i += 256u) {
        sum += partial_sums[i];
    }
    sum = sum256(lane, sum);
    if lane == 0u {
        // By bits: compilers may assume that no value is NaN or infinite.
        let finite = (bitcast<u32>(sum) & 0x7f800000u) != 0x7f800000u;
        var skipped = false;
#if SCALED
        let factor = 1.0 / scale[0];
        let norm = sqrt(sum) * factor;
        if finite {
            let since = scale[1] + 1.0;
            let grows = since == params.growth;
            scale[0] = select(scale[0], min(2.0 * scale[0], params.largest), grows);
            scale[1] = select(since, 0.0, grows);
        } else if scale[0] > 1.0 {
            skipped = true;
            scale[0] *= 0.5;
            scale[1] = 0.0;
            scale[2] += 1.0;
        }
#else
        let factor = 1.0;
        let norm = sqrt(sum);
#endif
        stats[NORM] = norm;
        stats[FACTOR] = min(1.0, step.clip / (norm + 1e-6)) * factor;
        if !finite && !skipped {
            stats[HALTED] = 1.0;
        }
        stats[SKIPPED] = select(0.0, 1.0, skipped);
    }
}
