// dgk of a chunk: the sum of U (DELTA: and of that of G) from the token's first row on, of X3 * k before it, and what goes through the whole chunk. A thread a
// channel; a workgroup a (64 channels and chunk, h, b); grid (ceil(d_k / 64) chunks, H, B).
const CHUNK: u32 = 64;
const DELTA: bool = false;
alias t_k = f32;
#import lib/chunk

@group(0) @binding(0) var<storage, read_write> k: array<t_k>; // [B, T HOUSEHOLDER, H, d_k]
@group(0) @binding(1) var<storage, read_write> u: array<f32>; // [B, T HOUSEHOLDER, H, d_k]
@group(0) @binding(2) var<storage, read_write> x3: array<f32>; // [B, T HOUSEHOLDER, H, d_k]
@group(0) @binding(3) var<storage, read_write> through: array<f32>; // [B, H, chunks, d_k]
@group(0) @binding(4) var<storage, read_write> grad_gk: array<f32>; // [B, T, H, d_k]
#if DELTA
@group(0) @binding(5) var<storage, read_write> u_keys: array<f32>; // [B, T HOUSEHOLDER, H, d_k]
#endif
@group(0) @binding(6) var<uniform> params: Params;

@compute @workgroup_size(64)
fn channel_gate_bwd(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let j = set_tile(wg, params.d_k) * 64u + lane;
    if j >= params.d_k {
        return;
    }
    var from_here = through[block() * params.d_k + j];
    for (var i = rows(); i > 0u; i--) {
        let at = row(i - 1u) * params.d_k + j;
#if DELTA
        from_here += u[at] + u_keys[at];
#else
        from_here += u[at];
#endif
        if is_first(i - 1u) {
            grad_gk[query(token(i - 1u)) * params.d_k + j] = from_here;
        }
    }
    var before = 0.0;
    for (var i = 0u; i < rows(); i++) {
        let at = row(i) * params.d_k + j;
        if is_first(i) {
            grad_gk[query(token(i)) * params.d_k + j] += before;
        }
        before += x3[at] * f32(k[at]);
    }
}
