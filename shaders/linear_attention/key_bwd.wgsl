// dK = X3 + E^T Q with X3 = diag(s) V D^T, and, SCALAR, X3_i . k_i and <S, D> for the log decays; summed over the heads
// that share the keys. A workgroup a (64 columns of d_k and chunk, h, b); grid (ceil(dk / 64) chunks, H or 1, B).
const SCALAR: bool = true;
alias t_q = f32;
alias t_k = f32;
alias t_v = f32;
alias t_d_k = f32;
#import lib/tile
#import lib/delta
#import lib/additive

@group(0) @binding(0) var<storage, read_write> q: array<t_q>; // [B, T, H or 1, dk]
@group(0) @binding(1) var<storage, read_write> k: array<t_k>; // [B, T, H or 1, dk]
@group(0) @binding(2) var<storage, read_write> v: array<t_v>; // [B, T, H, dv]
@group(0) @binding(3) var<storage, read_write> s: array<f32>; // [B, H, chunks, dk, dv]
@group(0) @binding(4) var<storage, read_write> d: array<f32>; // [B, H, chunks, dk, dv]
@group(0) @binding(5) var<storage, read_write> e: array<f32>; // [B, H, chunks, C, C]
@group(0) @binding(6) var<storage, read_write> table: array<f32>; // [B, H, chunks, fields, C]
@group(0) @binding(7) var<storage, read_write> d_k: array<t_d_k>; // [B, T, H or 1, dk]
@group(0) @binding(8) var<uniform> params: Params;

const OF_Q: u32 = 0;
const OF_K: u32 = 1;
const OF_V: u32 = 2;
const OF_D: u32 = 3;
const OF_E: u32 = 4; // from `head` on, those of heads_here()

fn element(operand: u32, i: u32, j: u32) -> f32 {
    var ok = true;
    var value = 0.0;
    if operand == OF_Q || operand == OF_K {
        ok = is_row(i) && j < params.dk;
        let at = select(0u, key_row(i) * params.dk + j, ok);
        if operand == OF_Q {
            value = f32(q[at]);
        } else {
            value = f32(k[at]);
        }
    } else if operand == OF_V {
        ok = is_row(i) && j < params.dv;
        value = f32(v[select(0u, row(i) * params.dv + j, ok)]);
    } else if operand == OF_D {
        ok = i < params.dk && j < params.dv;
        value = d[select(0u, (block() * params.dk + i) * params.dv + j, ok)];
    } else {
        for (var n = 0u; n < heads_here(); n++) {
            value += e[((block() + n * params.chunks) * C + i) * C + j];
        }
    }
    return select(0.0, value, ok);
}

@compute @workgroup_size({THREADS})
fn key_bwd(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let tiles = (params.dk + 63u) / 64u;
    let tile = wg.x % tiles;
    let n0 = tile * 64u;
    chunk = wg.x / tiles;
    batch = wg.z;
    tile_lanes(lane);
    let i = 4u * y;
    let j = n0 + 4u * x;
    var total = zero_tile();
    for (var n = 0u; n < heads_here(); n++) {
        head = wg.y + n;
        let t = product(zero_tile(), OF_V, false, 0u, OF_D, true, n0, params.dv);
        var part: vec4<f32>;
#for r in 0..4
        let x3_{r} = t.r{r} * table[entry(S, i + {r}u)];
        total.r{r} += x3_{r};
#if SCALAR
        part[{r}] = dot(x3_{r}, elements(OF_K, i + {r}u, j));
#endif
#end
#if SCALAR
        let out_sum = row_sums(part, lane);
        if lane < C {
            table[entry(OUT_K + tile, lane)] = out_sum;
        }
        let first = (block() * params.dk + n0) * params.dv;
        let words = min(64u, params.dk - n0) * params.dv;
        var sum = 0.0;
        for (var w = lane; w < words; w += THREADS) {
            sum = fma(s[first + w], d[first + w], sum);
        }
        let state = workgroup_sum(sum, lane);
        if lane == 0u {
            table[entry(STATE, tile)] = state;
        }
#endif
    }
    head = wg.y;
    total = product(total, OF_E, true, 0u, OF_Q, false, n0, rows());
#for r in 0..4
    if is_row(i + {r}u) {
#for c in 0..4
        if j + {c}u < params.dk {
            d_k[key_row(i + {r}u) * params.dk + j + {c}u] = t_d_k(total.r{r}[{c}]);
        }
#end
    }
#end
}
