// dQ = X1 + E K with X1 = diag(p) Do S^T, and, SCALAR, X1_i . q_i for the log decays; summed over the heads that share
// the queries. A workgroup a (64 columns of d_k and chunk, h, b); grid (ceil(dk / 64) chunks, H or 1, B).
const SCALAR: bool = true;
alias t_q = f32;
alias t_k = f32;
alias t_d_o = f32;
alias t_d_q = f32;
#import lib/tile
#import lib/delta
#import lib/additive

@group(0) @binding(0) var<storage, read_write> q: array<t_q>; // [B, T, H or 1, dk]
@group(0) @binding(1) var<storage, read_write> k: array<t_k>; // [B, T, H or 1, dk]
@group(0) @binding(2) var<storage, read_write> s: array<f32>; // [B, H, chunks, dk, dv]
@group(0) @binding(3) var<storage, read_write> e: array<f32>; // [B, H, chunks, C, C]
@group(0) @binding(4) var<storage, read_write> table: array<f32>; // [B, H, chunks, fields, C]
@group(0) @binding(5) var<storage, read_write> d_o: array<t_d_o>; // [B, T, H, dv]
@group(0) @binding(6) var<storage, read_write> d_q: array<t_d_q>; // [B, T, H or 1, dk]
@group(0) @binding(7) var<uniform> params: Params;

const OF_Q: u32 = 0;
const OF_K: u32 = 1;
const OF_S: u32 = 2;
const OF_E: u32 = 3; // from `head` on, those of heads_here()
const OF_DO: u32 = 4; // scale dO

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
    } else if operand == OF_S {
        ok = i < params.dk && j < params.dv;
        value = s[select(0u, (block() * params.dk + i) * params.dv + j, ok)];
    } else if operand == OF_E {
        for (var n = 0u; n < heads_here(); n++) {
            value += e[((block() + n * params.chunks) * C + i) * C + j];
        }
    } else {
        ok = is_row(i) && j < params.dv;
        value = params.scale * f32(d_o[select(0u, row(i) * params.dv + j, ok)]);
    }
    return select(0.0, value, ok);
}

@compute @workgroup_size({THREADS})
fn query_bwd(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
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
        let t = product(zero_tile(), OF_DO, false, 0u, OF_S, true, n0, params.dv);
        var part: vec4<f32>;
#for r in 0..4
        let x1_{r} = t.r{r} * table[entry(P, i + {r}u)];
        total.r{r} += x1_{r};
#if SCALAR
        part[{r}] = dot(x1_{r}, elements(OF_Q, i + {r}u, j));
#endif
#end
#if SCALAR
        let sum = row_sums(part, lane);
        if lane < C {
            table[entry(IN_Q + tile, lane)] = sum;
        }
#endif
    }
    head = wg.y;
    total = product(total, OF_E, false, 0u, OF_K, false, n0, rows());
#for r in 0..4
    if is_row(i + {r}u) {
#for c in 0..4
        if j + {c}u < params.dk {
            d_q[key_row(i + {r}u) * params.dk + j + {c}u] = t_d_q(total.r{r}[{c}]);
        }
#end
    }
#end
}
