// What of a chunk does not depend on the state: row factors, P = tril(Q K^T * Gam) (a row a query), G = stril(K K^T *
// Gam), and, where INVERSE, Tm = (I + diag(beta) G)^-1 by forward substitution instead of G. A workgroup a (chunk, h,
// b); grid (chunks, H, B). Source: Yang et al. 2024, section 3 (UT transform); decays of the gated rule: Yang, Kautz,
// Hatamizadeh 2025, section 3.
const DECAYS: bool = true; // there is a decay a head
const SCALAR: bool = true; // from g, else RetNet's
const INVERSE: bool = true;
alias t_q = f32;
alias t_k = f32;
#import lib/tile
#import lib/chunk
#import lib/decay
#import lib/retention
#if INVERSE
#import lib/inverse
#endif

#if WIDE
alias a_k = vec4<t_k>;
alias a_q = vec4<t_q>;
#else
alias a_k = t_k;
alias a_q = t_q;
#endif

@group(0) @binding(0) var<storage, read_write> q: array<a_q>; // [B, T, H, d_k]
@group(0) @binding(1) var<storage, read_write> k: array<a_k>; // [B, T HOUSEHOLDER, H, d_k]
@group(0) @binding(2) var<storage, read_write> beta: array<f32>; // [B, T HOUSEHOLDER, H]
@group(0) @binding(3) var<storage, read_write> scores: array<vec4<f32>>; // [B, H, chunks, QUERIES, C]
#if INVERSE
@group(0) @binding(4) var<storage, read_write> lower: array<f32>; // [B, H, chunks, C, C]: Tm
#else
@group(0) @binding(4) var<storage, read_write> lower: array<vec4<f32>>; // [B, H, chunks, C, C]: G
#endif
@group(0) @binding(5) var<storage, read_write> table: array<f32>; // [B, H, chunks, fields, C]
#if SCALAR
@group(0) @binding(6) var<storage, read_write> g: array<f32>; // [B, T, H]
#endif
@group(0) @binding(7) var<uniform> params: Params;

const OF_Q: u32 = 0; // at the last row of each token, elsewhere 0
const OF_K: u32 = 1;
const OF_APART: u32 = 2; // the chunk's first key, then what each other one has beside it

fn element(operand: u32, i: u32, j: u32) -> Value {
    var spot = in_keys(i, j);
    var value = Value();
    if operand == OF_Q {
        spot = spot_at(query(token(i)) * params.d_k + j, spot.ok & is_last(i));
        value = Value(q[spot.at]);
    } else {
        value = Value(k[spot.at]);
        if operand == OF_APART && i > 0u {
            let first = in_keys(0u, j);
            value -= Value(k[first.at]);
        }
    }
    return select(Value(), value, spot.ok);
}

// K K^T below the diagonal. Of keys that are nearly the same the products differ by less than a sum of d_k terms is rounded
// by: k_i . k_j is put together from (k_i - k_0) . k_j, (k_j - k_0) . k_0 and k_0 . k_0. On matrix units that would gain
// nothing, since the rows of a slice share their scale.
fn key_products() -> Tile {
#if COOP
    return product(zero_tile(), OF_K, false, 0u, OF_K, true, 0u, params.d_k);
#else
    var kk = product(zero_tile(), OF_APART, false, 0u, OF_K, true, 0u, params.d_k);
    workgroupBarrier();
    if x == 0u {
#for r in 0..4
        pool[4u * y + {r}u] = vec4(kk.r{r}[0]);
#end
    }
    workgroupBarrier();
    let whole = pool[0];
    if x < CHUNK / 4u {
        let with_first = vec4(
            select(pool[4u * x].x, 0.0, x == 0u), pool[4u * x + 1u].x, pool[4u * x + 2u].x, pool[4u * x + 3u].x,
        );
#for r in 0..4
        kk.r{r} = select(vec4(0.0), (kk.r{r} + with_first) + whole, is_row(4u * y + {r}u));
#end
    }
    workgroupBarrier();
    return kk;
#endif
}

fn beta_at(i: u32) -> f32 {
    var value = 0.0;
    if is_row(i) {
        value = beta[row(i)];
    }
    return value;
}

@compute @workgroup_size({THREADS})
fn chunk_prep_fwd(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    set_chunk(wg);
    tile_lanes(lane);
    var here = 0.0;
#if DECAYS
    if is_row(lane) && is_first(lane) {
#if SCALAR
        here = max(g[query(token(lane))], -1e4);
#else
        here = retention_log_decay(head);
#endif
    }
#endif
    set_log_decay(lane, here);
    write_factors(lane);
    if lane < CHUNK {
        table[entry(BETA, lane)] = beta_at(lane);
    }
    let gam = gam_tile();
    let inside = x < CHUNK / 4u;
    let j = vec4(4u * x) + vec4(0u, 1u, 2u, 3u);

    let qk = product(zero_tile(), OF_Q, false, 0u, OF_K, true, 0u, params.d_k);
    if inside {
#for r in 0..4
        if is_last(4u * y + {r}u) {
            let at = (block() * QUERIES + token(4u * y + {r}u)) * (CHUNK / 4u) + x;
            scores[at] = select(vec4(0.0), qk.r{r} * gam.r{r}, j <= vec4(4u * y + {r}u));
        }
#end
    }

    let kk = key_products();
#if INVERSE
    let i = 4u * y;
    set_triangle(Tile(
        beta_at(i) * kk.r0 * gam.r0,
        beta_at(i + 1u) * kk.r1 * gam.r1,
        beta_at(i + 2u) * kk.r2 * gam.r2,
        beta_at(i + 3u) * kk.r3 * gam.r3,
    ));
    workgroupBarrier();
    invert(lane);
    for (var n = lane; n < CHUNK * CHUNK; n += THREADS) {
        lower[block() * CHUNK * CHUNK + n] = inverse_element(n);
    }
#else
    if inside {
        let at = (block() * CHUNK + 4u * y) * (CHUNK / 4u) + x;
#for r in 0..4
        lower[at + {r}u * (CHUNK / 4u)] = select(vec4(0.0), kk.r{r} * gam.r{r}, j < vec4(4u * y + {r}u));
#end
    }
#endif
}
