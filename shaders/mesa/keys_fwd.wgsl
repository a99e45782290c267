// The keys that a chunk writes, kb = beta k (EXACT: in f32), and the decay factors of its rows; HALF, kb and k in f16 as well. A
// workgroup a (chunk, h, b); grid (chunks, H, B).
const CHUNK: u32 = 64;
const EXACT: bool = true;
const HALF: bool = false;
#import lib/chunk
#import lib/factors
alias t_k = f32;
alias t_kb_half = f32;
alias t_k_half = f32;
#if WIDE
alias a_k = vec4<t_k>;
alias a_kb_half = vec4<t_kb_half>;
alias a_k_half = vec4<t_k_half>;
#else
alias a_k = t_k;
alias a_kb_half = t_kb_half;
alias a_k_half = t_k_half;
#endif

@group(0) @binding(0) var<storage, read_write> k: array<a_k>; // [B, T, H, D]
@group(0) @binding(1) var<storage, read_write> g: array<f32>; // [B, T, H]
@group(0) @binding(2) var<storage, read_write> beta: array<f32>; // [B, T, H]
#if EXACT
@group(0) @binding(3) var<storage, read_write> kb: array<Value>; // [B, T, H, D]
#endif
@group(0) @binding(4) var<storage, read_write> table: array<f32>; // [B, H, chunks, fields, C]
#if HALF
@group(0) @binding(5) var<storage, read_write> kb_half: array<a_kb_half>; // [B, T, H, D]
@group(0) @binding(6) var<storage, read_write> k_half: array<a_k_half>; // [B, T, H, D]
#endif
@group(0) @binding(7) var<uniform> params: Params;

@compute @workgroup_size(256)
fn keys_fwd(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    set_chunk(wg);
    var here = 0.0;
    if is_row(lane) {
        here = max(g[row(lane)], -1e4);
    }
    set_log_decay(lane, here);
    write_factors(lane);
    if lane < CHUNK {
        table[entry(LOG, lane)] = here;
    }
    let columns = params.d_k / WIDTH;
    for (var i = lane; i < rows() * columns; i += 256u) {
        let key = row(i / columns);
        let at = key * columns + i % columns;
        let written = beta[key] * Value(k[at]);
#if EXACT
        kb[at] = written;
#endif
#if HALF
        kb_half[at] = a_kb_half(written);
        k_half[at] = a_k_half(k[at]);
#endif
    }
}
