// dV = P^T Do + (K * s) D of a chunk. A workgroup a (64 columns of d_v and chunk, h, b); grid (ceil(dv / 64) chunks,
// H, B).
alias t_k = f32;
alias t_d_o = f32;
alias t_d_v = f32;
#import lib/tile
#import lib/delta
#import lib/additive

@group(0) @binding(0) var<storage, read_write> k: array<t_k>; // [B, T, H or 1, dk]
@group(0) @binding(1) var<storage, read_write> d: array<f32>; // [B, H, chunks, dk, dv]
@group(0) @binding(2) var<storage, read_write> p: array<f32>; // [B, H, chunks, C, C]
@group(0) @binding(3) var<storage, read_write> table: array<f32>; // decay factors
@group(0) @binding(4) var<storage, read_write> d_o: array<t_d_o>; // [B, T, H, dv]
@group(0) @binding(5) var<storage, read_write> d_v: array<t_d_v>; // [B, T, H, dv]
@group(0) @binding(6) var<uniform> params: Params;

const OF_SK: u32 = 0; // K * s
const OF_D: u32 = 1;
const OF_P: u32 = 2;
const OF_DO: u32 = 3; // scale dO

fn element(operand: u32, i: u32, j: u32) -> f32 {
    var ok = true;
    var value = 0.0;
    if operand == OF_SK {
        ok = is_row(i) && j < params.dk;
        let row_i = select(0u, i, ok);
        let col = select(0u, j, ok);
        value = decay_out(row_i, col) * f32(k[key_row(row_i) * params.dk + col]);
    } else if operand == OF_D {
        ok = i < params.dk && j < params.dv;
        value = d[select(0u, (block() * params.dk + i) * params.dv + j, ok)];
    } else if operand == OF_P {
        value = p[(block() * C + i) * C + j];
    } else {
        ok = is_row(i) && j < params.dv;
        value = params.scale * f32(d_o[select(0u, row(i) * params.dv + j, ok)]);
    }
    return select(0.0, value, ok);
}

@compute @workgroup_size({THREADS})
fn value_bwd(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let tiles = (params.dv + 63u) / 64u;
    let n0 = wg.x % tiles * 64u;
    chunk = wg.x / tiles;
    head = wg.y;
    batch = wg.z;
    tile_lanes(lane);
    var t = product(zero_tile(), OF_SK, false, 0u, OF_D, false, n0, params.dk);
    t = product(t, OF_P, true, 0u, OF_DO, false, n0, rows());
#for r in 0..4
    if is_row(4u * y + {r}u) {
#for c in 0..4
        if n0 + 4u * x + {c}u < params.dv {
            d_v[row(4u * y + {r}u) * params.dv + n0 + 4u * x + {c}u] = t_d_v(t.r{r}[{c}]);
        }
#end
    }
#end
}
