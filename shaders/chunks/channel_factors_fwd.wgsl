// Decay factors of a chunk by channel: from the chunk's start to each row, and from each row to its end; DELTA: with
// them the write strengths. A thread a channel; a workgroup a (64 channels and chunk, h, b); grid (ceil(d_k / 64) chunks, H, B).
const CHUNK: u32 = 64;
const DELTA: bool = false;
#import lib/chunk
#import lib/row_decays

@group(0) @binding(0) var<storage, read_write> gk: array<f32>; // [B, T, H, d_k]
@group(0) @binding(1) var<storage, read_write> table: array<f32>; // see lib/row_decays
#if DELTA
@group(0) @binding(2) var<storage, read_write> beta: array<f32>; // [B, T HOUSEHOLDER, H]
#endif
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(64)
fn channel_factors_fwd(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let j = set_tile(wg, params.d_k) * 64u + lane;
    if j >= params.d_k {
        return;
    }
    // A gate of 0 is clamped, so that the sums stay finite.
    var before = 0.0;
    for (var i = 0u; i < rows(); i++) {
        if is_first(i) {
            before += max(gk[query(token(i)) * params.d_k + j], -1e4);
        }
        table[words_of(i) + j] = exp(before);
#if DELTA
        if j == 0u {
            table[words_of(i) + 2u * params.d_k] = beta[row(i)];
        }
#endif
    }
    var after = 0.0;
    for (var i = rows(); i > 0u; i--) {
        table[words_of(i - 1u) + params.d_k + j] = exp(after);
        if is_first(i - 1u) {
            after += max(gk[query(token(i - 1u)) * params.d_k + j], -1e4);
        }
    }
}
