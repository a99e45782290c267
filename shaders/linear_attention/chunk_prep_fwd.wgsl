// What of a chunk does not depend on the state, with a decay a head: row factors and P = tril(Q K^T * Gam). A
// workgroup a (chunk, h, b) or, shared queries and keys, a (chunk, b), which multiplies them once; grid (chunks, H or
// 1, B). SCALAR: log decays from g; otherwise, where DECAYS, those of RetNet, ln(1 - 2^(-5-h)).
// Source: Yang et al. 2024, section 4; Sun et al. 2023, section 2.
const DECAYS: bool = true;
const SCALAR: bool = true;
alias t_q = f32;
alias t_k = f32;
#import lib/tile
#import lib/chunk
#import lib/decay
#import lib/retention

#if WIDE
alias a_k = vec4<t_k>;
alias a_q = vec4<t_q>;
#else
alias a_k = t_k;
alias a_q = t_q;
#endif

@group(0) @binding(0) var<storage, read_write> q: array<a_q>; // [B, T, H or 1, d_k]
@group(0) @binding(1) var<storage, read_write> k: array<a_k>; // [B, T, H or 1, d_k]
@group(0) @binding(2) var<storage, read_write> scores: array<vec4<f32>>; // [B, H, chunks, C, C]
@group(0) @binding(3) var<storage, read_write> table: array<f32>; // [B, H, chunks, fields, C]
#if SCALAR
@group(0) @binding(4) var<storage, read_write> g: array<f32>; // [B, T, H]
#endif
@group(0) @binding(5) var<uniform> params: Params;

const OF_Q: u32 = 0;
const OF_K: u32 = 1;

fn element(operand: u32, i: u32, j: u32) -> Value {
    let spot = in_keys(i, j);
    var value = Value();
    if operand == OF_Q {
        value = Value(q[spot.at]);
    } else {
        value = Value(k[spot.at]);
    }
    return select(Value(), value, spot.ok);
}

fn log_decay_at(i: u32) -> f32 {
    var value = 0.0;
    if is_row(i) {
#if SCALAR
        value = max(g[row(i)], -1e4);
#else
#if DECAYS
        value = retention_log_decay(head);
#endif
#endif
    }
    return value;
}

@compute @workgroup_size({THREADS})
fn chunk_prep_fwd(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    set_chunk(wg);
    tile_lanes(lane);
    let qk = product(zero_tile(), OF_Q, false, 0u, OF_K, true, 0u, params.d_k);
    for (var n = 0u; n < heads_here(); n++) {
        head = wg.y + n;
        workgroupBarrier();
        set_log_decay(lane, log_decay_at(lane));
        write_factors(lane);
        if lane < CHUNK {
            table[entry(LOG, lane)] = log_decay[lane];
        }
        let gam = gam_tile();
        if x < CHUNK / 4u {
            let at = (block() * CHUNK + 4u * y) * (CHUNK / 4u) + x;
            let j = vec4(4u * x) + vec4(0u, 1u, 2u, 3u);
#for r in 0..4
            scores[at + {r}u * (CHUNK / 4u)] = select(vec4(0.0), qk.r{r} * gam.r{r}, j <= vec4(4u * y + {r}u));
#end
        }
    }
}
