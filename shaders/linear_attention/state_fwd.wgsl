// The recurrence over chunks: the state at each chunk's start, S' = diag(a) S + (K * s)^T V. A workgroup a (C rows and
// 64 columns of the state, h, b), which it keeps in registers, sequential over chunks; grid (ceil(dk / C) ceil(dv /
// 64), H, B). Source: Yang et al. 2024, section 4.
alias t_k = f32;
alias t_v = f32;
#import lib/tile
#import lib/delta
#import lib/additive

@group(0) @binding(0) var<storage, read_write> k: array<t_k>; // [B, T, H or 1, dk]
@group(0) @binding(1) var<storage, read_write> v: array<t_v>; // [B, T, H, dv]
@group(0) @binding(2) var<storage, read_write> table: array<f32>; // decay factors
@group(0) @binding(3) var<storage, read_write> s: array<f32>; // [B, H, chunks, dk, dv]
@group(0) @binding(4) var<uniform> params: Params;

const OF_SK: u32 = 0; // K * s
const OF_V: u32 = 1;

fn element(operand: u32, i: u32, j: u32) -> f32 {
    var value = 0.0;
    let ok = is_row(i) && j < select(params.dv, params.dk, operand == OF_SK);
    let row_i = select(0u, i, ok);
    let col = select(0u, j, ok);
    if operand == OF_SK {
        value = decay_out(row_i, col) * f32(k[key_row(row_i) * params.dk + col]);
    } else {
        value = f32(v[row(row_i) * params.dv + col]);
    }
    return select(0.0, value, ok);
}

@compute @workgroup_size({THREADS})
fn state_fwd(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let tiles = (params.dv + 63u) / 64u;
    let n0 = wg.x % tiles * 64u;
    let m0 = wg.x / tiles * C;
    head = wg.y;
    batch = wg.z;
    tile_lanes(lane);
    var state = zero_tile();
    for (var done = 0u; done < params.chunks; done++) {
        chunk = done;
#for r in 0..4
        if m0 + 4u * y + {r}u < params.dk {
            let at = (block() * params.dk + m0 + 4u * y + {r}u) * params.dv + n0 + 4u * x;
#for c in 0..4
            if n0 + 4u * x + {c}u < params.dv {
                s[at + {c}u] = state.r{r}[{c}];
            }
#end
            state.r{r} *= decay_whole(m0 + 4u * y + {r}u);
        }
#end
        if done + 1u < params.chunks {
            state = product(state, OF_SK, true, m0, OF_V, false, n0, rows());
        }
    }
}
