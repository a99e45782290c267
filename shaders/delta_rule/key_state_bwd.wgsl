// The part of dK that goes through the states, X3 - X2 with X2 = diag(p) dV S^T and X3 = diag(s) Vn D^T, and for the
// log decays X2_i . k_i, X3_i . k_i and <S, D>. A workgroup a (64 columns of d_k and chunk, h, b); grid (ceil(dk /
// 64) chunks, H, B).
alias t_k = f32;
alias t_d_v = f32;
alias t_d_k = f32;
#import lib/tile
#import lib/delta

@group(0) @binding(0) var<storage, read_write> k: array<t_k>; // [B, T STEPS, H, dk]
@group(0) @binding(1) var<storage, read_write> s: array<f32>; // [B, H, chunks, dk, dv]
@group(0) @binding(2) var<storage, read_write> d: array<f32>; // [B, H, chunks, dk, dv]
@group(0) @binding(3) var<storage, read_write> table: array<f32>; // [B, H, chunks, fields, C]
@group(0) @binding(4) var<storage, read_write> vn: array<f32>; // [B, T STEPS, H, dv]
@group(0) @binding(5) var<storage, read_write> d_v: array<t_d_v>; // [B, T STEPS, H, dv]
@group(0) @binding(6) var<storage, read_write> d_k: array<t_d_k>; // [B, T STEPS, H, dk]
@group(0) @binding(7) var<uniform> params: Params;

const OF_K: u32 = 0;
const OF_S: u32 = 1;
const OF_D: u32 = 2;
const OF_VN: u32 = 3;
const OF_DV: u32 = 4;

fn element(operand: u32, i: u32, j: u32) -> f32 {
    var ok = true;
    var value = 0.0;
    if operand == OF_K {
        ok = is_row(i) && j < params.dk;
        value = f32(k[select(0u, row(i) * params.dk + j, ok)]);
    } else if operand == OF_S || operand == OF_D {
        ok = i < params.dk && j < params.dv;
        let at = select(0u, (block() * params.dk + i) * params.dv + j, ok);
        if operand == OF_S {
            value = s[at];
        } else {
            value = d[at];
        }
    } else {
        ok = is_row(i) && j < params.dv;
        let at = select(0u, row(i) * params.dv + j, ok);
        if operand == OF_VN {
            value = vn[at];
        } else {
            value = f32(d_v[at]);
        }
    }
    return select(0.0, value, ok);
}

@compute @workgroup_size({THREADS})
fn key_state_bwd(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let tiles = (params.dk + 63u) / 64u;
    let tile = wg.x % tiles;
    let n0 = tile * 64u;
    chunk = wg.x / tiles;
    head = wg.y;
    batch = wg.z;
    tile_lanes(lane);
    let i = 4u * y;
    let j = n0 + 4u * x;
    var x2 = product(zero_tile(), OF_DV, false, 0u, OF_S, true, n0, params.dv);
    var x3 = product(zero_tile(), OF_VN, false, 0u, OF_D, true, n0, params.dv);
    var in_part: vec4<f32>;
    var out_part: vec4<f32>;
#for r in 0..4
    x2.r{r} *= table[entry(P, i + {r}u)];
    x3.r{r} *= table[entry(S, i + {r}u)];
    let k{r} = elements(OF_K, i + {r}u, j);
    in_part[{r}] = dot(x2.r{r}, k{r});
    out_part[{r}] = dot(x3.r{r}, k{r});
    if is_row(i + {r}u) {
#for c in 0..4
        if j + {c}u < params.dk {
            d_k[row(i + {r}u) * params.dk + j + {c}u] = t_d_k(x3.r{r}[{c}] - x2.r{r}[{c}]);
        }
#end
    }
#end
    let in_sum = row_sums(in_part, lane);
    let out_sum = row_sums(out_part, lane);
    if lane < C {
        table[entry(IN_K + tile, lane)] = in_sum;
        table[entry(OUT_K + tile, lane)] = out_sum;
    }
    let from_word = (block() * params.dk + n0) * params.dv;
    let words = min(64u, params.dk - n0) * params.dv;
    var sum = 0.0;
    for (var n = lane; n < words; n += THREADS) {
        sum = fma(s[from_word + n], d[from_word + n], sum);
    }
    let total = workgroup_sum(sum, lane);
    if lane == 0u {
        table[entry(STATE, tile)] = total;
    }
}
