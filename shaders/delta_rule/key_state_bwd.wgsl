// The part of dK that goes through the states, X3 - X2 with X2 = diag(p) dV S^T and X3 = diag(s) Vn D^T, and for the
// log decays X2_i . k_i, X3_i . k_i and <S, D>. A workgroup a (64 columns of d_k and chunk, h, b); grid (ceil(dk /
// 64) chunks, H, B).
alias t_k = f32;
alias t_d_v = f32;
alias t_d_k = f32;
#import lib/tile
#import lib/chunk
#import lib/store
#import lib/state_sum

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
    var spot: Place;
    var value = 0.0;
    if operand == OF_K {
        spot = in_keys(i, j);
        value = f32(k[spot.at]);
    } else if operand == OF_S {
        spot = in_state(i, j);
        value = s[spot.at];
    } else if operand == OF_D {
        spot = in_state(i, j);
        value = d[spot.at];
    } else if operand == OF_VN {
        spot = in_values(i, j);
        value = vn[spot.at];
    } else {
        spot = in_values(i, j);
        value = f32(d_v[spot.at]);
    }
    return select(0.0, value, spot.ok);
}

fn store(at: u32, value: f32) {
    d_k[at] = t_d_k(value);
}

@compute @workgroup_size({THREADS})
fn key_state_bwd(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let tile = set_tile(wg, params.dk);
    let n0 = tile * 64u;
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
    x3.r{r} -= x2.r{r};
#end
    store_keys(x3, n0);
    let in_sum = row_sums(in_part, lane);
    let out_sum = row_sums(out_part, lane);
    if lane < C {
        table[entry(IN_K + tile, lane)] = in_sum;
        table[entry(OUT_K + tile, lane)] = out_sum;
    }
    write_state_sum(tile, lane);
}
