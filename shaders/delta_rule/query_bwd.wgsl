// dQ = E K + X1 with X1 = diag(p) Do S^T, and X1_i . q_i for the log decays. A workgroup a (64 columns of d_k and
// chunk, h, b); grid (ceil(dk / 64) chunks, H, B).
alias t_q = f32;
alias t_k = f32;
alias t_d_o = f32;
alias t_d_q = f32;
#import lib/tile
#import lib/delta

@group(0) @binding(0) var<storage, read_write> q: array<t_q>; // [B, T, H, dk]
@group(0) @binding(1) var<storage, read_write> k: array<t_k>; // [B, T STEPS, H, dk]
@group(0) @binding(2) var<storage, read_write> s: array<f32>; // [B, H, chunks, dk, dv]
@group(0) @binding(3) var<storage, read_write> e: array<f32>; // [B, H, chunks, QUERIES, C]
@group(0) @binding(4) var<storage, read_write> table: array<f32>; // [B, H, chunks, fields, C]
@group(0) @binding(5) var<storage, read_write> d_o: array<t_d_o>; // [B, T, H, dv]
@group(0) @binding(6) var<storage, read_write> d_q: array<t_d_q>; // [B, T, H, dk]
@group(0) @binding(7) var<uniform> params: Params;

const OF_Q: u32 = 0;
const OF_K: u32 = 1;
const OF_S: u32 = 2;
const OF_E: u32 = 3;
const OF_DO: u32 = 4; // scale dO

fn element(operand: u32, i: u32, j: u32) -> f32 {
    var ok = true;
    var value = 0.0;
    if operand == OF_Q {
        ok = is_query(i) && j < params.dk;
        value = f32(q[select(0u, query(i) * params.dk + j, ok)]);
    } else if operand == OF_K {
        ok = is_row(i) && j < params.dk;
        value = f32(k[select(0u, row(i) * params.dk + j, ok)]);
    } else if operand == OF_S {
        ok = i < params.dk && j < params.dv;
        value = s[select(0u, (block() * params.dk + i) * params.dv + j, ok)];
    } else if operand == OF_E {
        ok = i < QUERIES;
        value = e[select(0u, (block() * QUERIES + i) * C + j, ok)];
    } else {
        ok = is_query(i) && j < params.dv;
        value = params.scale * f32(d_o[select(0u, query(i) * params.dv + j, ok)]);
    }
    return select(0.0, value, ok);
}

@compute @workgroup_size({THREADS})
fn query_bwd(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let tiles = (params.dk + 63u) / 64u;
    let tile = wg.x % tiles;
    let n0 = tile * 64u;
    chunk = wg.x / tiles;
    head = wg.y;
    batch = wg.z;
    tile_lanes(lane);
    let i = 4u * y;
    let j = n0 + 4u * x;
    var t = product(zero_tile(), OF_DO, false, 0u, OF_S, true, n0, params.dv);
    var part: vec4<f32>;
#for r in 0..4
    t.r{r} *= table[entry(P, last(i + {r}u))];
    part[{r}] = dot(t.r{r}, elements(OF_Q, i + {r}u, j));
#end
    let sum = row_sums(part, lane);
    if lane < C {
        table[entry(IN_Q + tile, lane)] = sum;
    }
    t = product(t, OF_E, false, 0u, OF_K, false, n0, rows());
#for r in 0..4
    if is_query(i + {r}u) {
#for c in 0..4
        if j + {c}u < params.dk {
            d_q[query(i + {r}u) * params.dk + j + {c}u] = t_d_q(t.r{r}[{c}]);
        }
#end
    }
#end
}
