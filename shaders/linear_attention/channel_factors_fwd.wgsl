// Decay factors of a chunk by channel: from the chunk's start to each token, and from each token to its end. A thread a
// channel; a workgroup a (64 channels and chunk, h, b); grid (ceil(d_k / 64) chunks, H, B).
const CHUNK: u32 = 64;
#import lib/chunk

@group(0) @binding(0) var<storage, read_write> gk: array<f32>; // [B, T, H, d_k]
@group(0) @binding(1) var<storage, read_write> table: array<f32>; // [B, T, H, 2, d_k]
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(64)
fn channel_factors_fwd(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let j = set_tile(wg, params.d_k) * 64u + lane;
    if j >= params.d_k {
        return;
    }
    // A gate of 0 is clamped, so that the sums stay finite.
    var before = 0.0;
    for (var i = 0u; i < rows(); i++) {
        before += max(gk[row(i) * params.d_k + j], -1e4);
        table[2u * row(i) * params.d_k + j] = exp(before);
    }
    var after = 0.0;
    for (var i = rows(); i > 0u; i--) {
        table[(2u * row(i - 1u) + 1u) * params.d_k + j] = exp(after);
        after += max(gk[row(i - 1u) * params.d_k + j], -1e4);
    }
}
