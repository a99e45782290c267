// What of a chunk does not depend on the state: row factors, P = tril(Q K^T * Gam) (a row a query), G = stril(K K^T *
// Gam), and, where INVERSE, Tm = (I + diag(beta) G)^-1 by forward substitution instead of G. A workgroup a (chunk, h,
// b); grid (chunks, H, B). Source: Yang et al. 2024, section 3 (UT transform); decays of the gated rule: Yang, Kautz,
// Hatamizadeh 2025, section 3.
const DECAYS: bool = true;
const INVERSE: bool = true;
alias t_q = f32;
alias t_k = f32;
#import lib/tile
#import lib/chunk
#import lib/decay

@group(0) @binding(0) var<storage, read_write> q: array<t_q>; // [B, T, H, d_k]
@group(0) @binding(1) var<storage, read_write> k: array<t_k>; // [B, T HOUSEHOLDER, H, d_k]
@group(0) @binding(2) var<storage, read_write> beta: array<f32>; // [B, T HOUSEHOLDER, H]
@group(0) @binding(3) var<storage, read_write> scores: array<f32>; // [B, H, chunks, QUERIES, C]
@group(0) @binding(4) var<storage, read_write> lower: array<f32>; // [B, H, chunks, C, C]: Tm or G
@group(0) @binding(5) var<storage, read_write> table: array<f32>; // [B, H, chunks, fields, C]
#if DECAYS
@group(0) @binding(6) var<storage, read_write> g: array<f32>; // [B, T, H]
#endif
@group(0) @binding({6 + DECAYS}) var<uniform> params: Params;

const OF_Q: u32 = 0; // at the last row of each token, elsewhere 0
const OF_K: u32 = 1;

fn element(operand: u32, i: u32, j: u32) -> f32 {
    var spot = in_keys(i, j);
    var value = 0.0;
    if operand == OF_Q {
        spot = spot_at(query(token(i)) * params.d_k + j, spot.ok && is_last(i));
        value = f32(q[spot.at]);
    } else {
        value = f32(k[spot.at]);
    }
    return select(0.0, value, spot.ok);
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
        here = max(g[query(token(lane))], -1e4);
    }
#endif
    set_log_decay(lane, here);
    write_factors(lane);
    if lane < C {
        table[entry(BETA, lane)] = beta_at(lane);
    }
    let gam = gam_tile();
    let inside = x < C / 4u;

    let qk = product(zero_tile(), OF_Q, false, 0u, OF_K, true, 0u, params.d_k);
    if inside {
#for r in 0..4
        if is_last(4u * y + {r}u) {
            let at = (block() * QUERIES + token(4u * y + {r}u)) * C + 4u * x;
#for c in 0..4
            scores[at + {c}u] = select(0.0, qk.r{r}[{c}] * gam.r{r}[{c}], 4u * x + {c}u <= 4u * y + {r}u);
#end
        }
#end
    }

    let kk = product(zero_tile(), OF_K, false, 0u, OF_K, true, 0u, params.d_k);
#if INVERSE
    let i = 4u * y;
    set_triangle(Tile(
        beta_at(i) * kk.r0 * gam.r0,
        beta_at(i + 1u) * kk.r1 * gam.r1,
        beta_at(i + 2u) * kk.r2 * gam.r2,
        beta_at(i + 3u) * kk.r3 * gam.r3,
    ));
    workgroupBarrier();
    // Row i of the inverse below its diagonal, four columns an invocation, over row i of the matrix.
    for (var i = 1u; i < C; i++) {
        var sum = vec4(0.0);
        let mine = lane <= i / 4u;
        if mine {
            sum = pool[triangle_at(i, lane)];
            for (var m = 4u * lane + 1u; m < i; m++) {
                sum = fma(vec4(triangle(i, m)), pool[triangle_at(m, lane)], sum);
            }
        }
        workgroupBarrier();
        if mine {
            pool[triangle_at(i, lane)] = -sum;
        }
        workgroupBarrier();
    }
    for (var n = lane; n < C * C; n += THREADS) {
        let i = n / C;
        let j = n % C;
        var value = 0.0;
        if j == i {
            value = 1.0;
        } else if j < i {
            value = triangle(i, j);
        }
        lower[block() * C * C + n] = value;
    }
#else
    if inside {
        let base = block() * C * C + 4u * (y * C + x);
#for r in 0..4
#for c in 0..4
        lower[base + {r}u * C + {c}u] = select(0.0, kk.r{r}[{c}] * gam.r{r}[{c}], 4u * x + {c}u < 4u * y + {r}u);
#end
#end
    }
#endif
}
