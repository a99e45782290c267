// The part of dK inside a chunk, E^T Q + (F + F^T) K, added to the other. A workgroup a (64 columns of d_k and
// chunk, h, b); grid (ceil(dk / 64) chunks, H, B).
alias t_q = f32;
alias t_k = f32;
alias t_d_k = f32;
#import lib/tile
#import lib/delta

@group(0) @binding(0) var<storage, read_write> q: array<t_q>; // [B, T, H, dk]
@group(0) @binding(1) var<storage, read_write> k: array<t_k>; // [B, T STEPS, H, dk]
@group(0) @binding(2) var<storage, read_write> e: array<f32>; // [B, H, chunks, QUERIES, C]
@group(0) @binding(3) var<storage, read_write> f: array<f32>; // [B, H, chunks, C, C]: F + F^T, the diagonal 0
@group(0) @binding(4) var<storage, read_write> d_k: array<t_d_k>; // [B, T STEPS, H, dk]
@group(0) @binding(5) var<uniform> params: Params;

const OF_Q: u32 = 0;
const OF_K: u32 = 1;
const OF_E: u32 = 2;
const OF_F: u32 = 3;

fn element(operand: u32, i: u32, j: u32) -> f32 {
    var ok = true;
    var value = 0.0;
    if operand == OF_E {
        ok = i < QUERIES;
        value = e[select(0u, (block() * QUERIES + i) * C + j, ok)];
    } else if operand == OF_F {
        value = f[(block() * C + i) * C + j];
    } else if operand == OF_Q {
        ok = is_query(i) && j < params.dk;
        value = f32(q[select(0u, query(i) * params.dk + j, ok)]);
    } else {
        ok = is_row(i) && j < params.dk;
        value = f32(k[select(0u, row(i) * params.dk + j, ok)]);
    }
    return select(0.0, value, ok);
}

@compute @workgroup_size({THREADS})
fn key_chunk_bwd(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let tiles = (params.dk + 63u) / 64u;
    let tile = wg.x % tiles;
    let n0 = tile * 64u;
    chunk = wg.x / tiles;
    head = wg.y;
    batch = wg.z;
    tile_lanes(lane);
    var t = product(zero_tile(), OF_E, true, 0u, OF_Q, false, n0, queries());
    t = product(t, OF_F, false, 0u, OF_K, false, n0, rows());
#for r in 0..4
    if is_row(4u * y + {r}u) {
#for c in 0..4
        if n0 + 4u * x + {c}u < params.dk {
            let at = row(4u * y + {r}u) * params.dk + n0 + 4u * x + {c}u;
            d_k[at] = t_d_k(f32(d_k[at]) + t.r{r}[{c}]);
        }
#end
    }
#end
}
