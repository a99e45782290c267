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
@group(0) @binding(3) var<storage, read_write> scores: array<f32>; // [B, H, chunks, QUERIES, C]
@group(0) @binding(4) var<storage, read_write> lower: array<f32>; // [B, H, chunks, C, C]: Tm or G
@group(0) @binding(5) var<storage, read_write> table: array<f32>; // [B, H, chunks, fields, C]
#if DECAYS
@group(0) @binding(6) var<storage, read_write> g: array<f32>; // [B, T, H]
#endif
@group(0) @binding(7) var<uniform> params: Params;

const OF_Q: u32 = 0; // at the last row of each token, elsewhere 0
const OF_K: u32 = 1;

fn element(operand: u32, i: u32, j: u32) -> Value {
    var spot = in_keys(i, j);
    var value = Value();
    if operand == OF_Q {
        spot = spot_at(query(token(i)) * params.d_k + j, spot.ok && is_last(i));
        value = Value(q[spot.at]);
    } else {
        value = Value(k[spot.at]);
    }
    return select(Value(), value, spot.ok);
}

fn beta_at(i: u32) -> f32 {
    var value = 0.0;
    if is_row(i) {
        value = beta[row(i)];
    }
    return value;
}

#if INVERSE
// Columns 4 q .. of row i of a unit lower triangular matrix whose part below the diagonal is the triangle.
fn unit_row(i: u32, q: u32) -> vec4<f32> {
    if q > i / 4u {
        return vec4(0.0);
    }
    let unit = vec4(4u * q) + vec4(0u, 1u, 2u, 3u) == vec4(i);
    return select(pool[triangle_at(i, q)], vec4(1.0), unit);
}

// The inverse of the unit lower triangular matrix in the pool, in its place: blocks of 16 on the diagonal by forward
// substitution, four columns a thread; then, twice the size each time, the blocks below them: -T2 A T1 for T1 above and T2
// beside the block A.
fn invert(lane: u32) {
    let first = lane / 4u * 16u;
    let j = vec4(4u * (lane % 4u)) + vec4(0u, 1u, 2u, 3u);
#for i in 0..16
    var x{i} = select(vec4(0.0), vec4(1.0), j == vec4({i}u));
#end
    if lane < CHUNK / 4u {
#for i in 1..16
#for q in 0..(i + 3) / 4
        {
            let a = pool[triangle_at(first + {i}u, first / 4u + {q}u)];
#for c in 0..4
#if 4 * q + c < i
            x{i} = fma(vec4(-a[{c}]), x{4 * q + c}, x{i});
#endif
#end
        }
#end
#end
    }
    workgroupBarrier();
    if lane < CHUNK / 4u {
#for i in 1..16
        if lane % 4u <= {i / 4}u {
            pool[triangle_at(first + {i}u, lane)] = select(vec4(0.0), x{i}, j < vec4({i}u));
        }
#end
    }
    workgroupBarrier();
    for (var size = 16u; size < CHUNK; size *= 2u) {
        let quads = size / 4u;
        let above = lane / (size * quads) * 2u * size;
        let beside = above + size;
        let i = beside + lane / quads % size;
        let q = above / 4u + lane % quads;
        let mine = beside < CHUNK;
        var sum = vec4(0.0);
        if mine {
            for (var k = 0u; k < quads; k++) {
                let a = pool[triangle_at(i, above / 4u + k)];
#for c in 0..4
                sum = fma(vec4(a[{c}]), unit_row(above + 4u * k + {c}u, q), sum);
#end
            }
        }
        workgroupBarrier();
        if mine {
            pool[triangle_at(i, q)] = sum;
        }
        workgroupBarrier();
        sum = vec4(0.0);
        if mine {
            for (var k = 0u; k <= (i - beside) / 4u; k++) {
                let t = unit_row(i, beside / 4u + k);
#for c in 0..4
                sum = fma(vec4(-t[{c}]), pool[triangle_at(beside + 4u * k + {c}u, q)], sum);
#end
            }
        }
        workgroupBarrier();
        if mine {
            pool[triangle_at(i, q)] = sum;
        }
        workgroupBarrier();
    }
}
#endif

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
    if lane < CHUNK {
        table[entry(BETA, lane)] = beta_at(lane);
    }
    let gam = gam_tile();
    let inside = x < CHUNK / 4u;

    let qk = product(zero_tile(), OF_Q, false, 0u, OF_K, true, 0u, params.d_k);
    if inside {
#for r in 0..4
        if is_last(4u * y + {r}u) {
            let at = (block() * QUERIES + token(4u * y + {r}u)) * CHUNK + 4u * x;
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
    invert(lane);
    for (var n = lane; n < CHUNK * CHUNK; n += THREADS) {
        let i = n / CHUNK;
        let j = n % CHUNK;
        var value = 0.0;
        if j == i {
            value = 1.0;
        } else if j < i {
            value = triangle(i, j);
        }
        lower[block() * CHUNK * CHUNK + n] = value;
    }
#else
    if inside {
        let base = block() * CHUNK * CHUNK + 4u * (y * CHUNK + x);
#for r in 0..4
#for c in 0..4
        lower[base + {r}u * CHUNK + {c}u] = select(0.0, kk.r{r}[{c}] * gam.r{r}[{c}], 4u * x + {c}u < 4u * y + {r}u);
#end
#end
    }
#endif
}
