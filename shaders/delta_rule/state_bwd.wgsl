// The recurrence over chunks, backwards: D = dL/d state after each chunk, and dR of each chunk. A workgroup a (64
// columns of d_v, h, b), sequential over chunks; grid (ceil(dv / 64), H, B). `d_v` holds dVn = P^T Do + diag(s) K D,
// then dR = Tm^T dVn, which error_bwd turns into dV = diag(beta) dR. D <- a D + Q^T diag(p) Do - K^T diag(p) dV.
alias t_q = f32;
alias t_k = f32;
alias t_d_o = f32;
alias t_d_v = f32;
#import lib/tile
#import lib/chunk
#import lib/store

@group(0) @binding(0) var<storage, read_write> q: array<t_q>; // [B, T, H, dk]
@group(0) @binding(1) var<storage, read_write> k: array<t_k>; // [B, T STEPS, H, dk]
@group(0) @binding(2) var<storage, read_write> table: array<f32>; // [B, H, chunks, fields, C]
@group(0) @binding(3) var<storage, read_write> tm: array<f32>; // [B, H, chunks, C, C]
@group(0) @binding(4) var<storage, read_write> p: array<f32>; // [B, H, chunks, QUERIES, C]
@group(0) @binding(5) var<storage, read_write> d_o: array<t_d_o>; // [B, T, H, dv]
@group(0) @binding(6) var<storage, read_write> d_v: array<t_d_v>; // [B, T STEPS, H, dv]
@group(0) @binding(7) var<storage, read_write> d: array<f32>; // [B, H, chunks, dk, dv]
@group(0) @binding(8) var<uniform> params: Params;

const OF_K: u32 = 0;
const OF_PQ: u32 = 1; // diag(p) Q
const OF_PBK: u32 = 2; // -diag(p beta) K
const OF_D: u32 = 3;
const OF_P: u32 = 4;
const OF_TM: u32 = 5;
const OF_DO: u32 = 6; // scale dO
const OF_DV: u32 = 7;

fn element(operand: u32, i: u32, j: u32) -> f32 {
    var spot: Place;
    var value = 0.0;
    if operand == OF_PQ {
        spot = in_queries(i, j);
        value = table[entry(P, last(i))] * f32(q[spot.at]);
    } else if operand == OF_PBK {
        spot = in_keys(i, j);
        value = -table[entry(P, i)] * table[entry(BETA, i)] * f32(k[spot.at]);
    } else if operand == OF_K {
        spot = in_keys(i, j);
        value = f32(k[spot.at]);
    } else if operand == OF_D {
        spot = in_state(i, j);
        value = d[spot.at];
    } else if operand == OF_P {
        spot = in_scores(i, j);
        value = p[spot.at];
    } else if operand == OF_TM {
        spot = in_square(i, j);
        value = tm[spot.at];
    } else if operand == OF_DO {
        spot = in_outputs(i, j);
        value = params.scale * f32(d_o[spot.at]);
    } else {
        spot = in_values(i, j);
        value = f32(d_v[spot.at]);
    }
    return select(0.0, value, spot.ok);
}

fn store(at: u32, value: f32) {
    d_v[at] = t_d_v(value);
}

@compute @workgroup_size({THREADS})
fn state_bwd(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let n0 = wg.x * 64u;
    head = wg.y;
    batch = wg.z;
    tile_lanes(lane);
    chunk = params.chunks - 1u;
    for (var n = lane; n < params.dk * 64u; n += THREADS) {
        let j = n0 + n % 64u;
        if j < params.dv {
            d[(block() * params.dk + n / 64u) * params.dv + j] = 0.0;
        }
    }
    for (var done = 0u; done < params.chunks; done++) {
        chunk = params.chunks - 1u - done;
        storageBarrier();
        var t = product(zero_tile(), OF_K, false, 0u, OF_D, false, n0, params.dk);
#for r in 0..4
        t.r{r} *= table[entry(S, 4u * y + {r}u)];
#end
        t = product(t, OF_P, true, 0u, OF_DO, false, n0, queries());
        store_values(t, n0);
        storageBarrier();
        t = product(zero_tile(), OF_TM, true, 0u, OF_DV, false, n0, rows());
        storageBarrier();
        store_values(t, n0);
        storageBarrier();
        if done + 1u < params.chunks {
            let a = table[entry(P, C - 1u)];
            for (var m0 = 0u; m0 < params.dk; m0 += C) {
                t = product(zero_tile(), OF_PQ, true, m0, OF_DO, false, n0, queries());
                t = product(t, OF_PBK, true, m0, OF_DV, false, n0, rows());
#for r in 0..4
                if m0 + 4u * y + {r}u < params.dk {
#for c in 0..4
                    if n0 + 4u * x + {c}u < params.dv {
                        let at = (block() * params.dk + m0 + 4u * y + {r}u) * params.dv + n0 + 4u * x + {c}u;
                        d[at - params.dk * params.dv] = fma(a, d[at], t.r{r}[{c}]);
                    }
#end
                }
#end
            }
        }
    }
}
