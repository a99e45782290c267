// What goes through the states, by channel: X1 = p * (Do S^T), X3 = s * (V D^T), and for the log decays the sums over
// d_v of a S * D. A workgroup a (64 columns of d_k and chunk, h, b); grid (ceil(dk / 64) chunks, H, B).
alias t_v = f32;
alias t_d_o = f32;
#import lib/tile
#import lib/chunk
#import lib/additive

@group(0) @binding(0) var<storage, read_write> v: array<t_v>; // [B, T, H, dv]
@group(0) @binding(1) var<storage, read_write> d_o: array<t_d_o>; // [B, T, H, dv]
@group(0) @binding(2) var<storage, read_write> s: array<f32>; // [B, H, chunks, dk, dv]
@group(0) @binding(3) var<storage, read_write> d: array<f32>; // [B, H, chunks, dk, dv]
@group(0) @binding(4) var<storage, read_write> table: array<f32>; // [B, T, H, 2, dk]
@group(0) @binding(5) var<storage, read_write> x1: array<f32>; // [B, T, H, dk]
@group(0) @binding(6) var<storage, read_write> x3: array<f32>; // [B, T, H, dk]
@group(0) @binding(7) var<storage, read_write> through: array<f32>; // [B, H, chunks, dk]
@group(0) @binding(8) var<uniform> params: Params;

const OF_V: u32 = 0;
const OF_DO: u32 = 1; // scale dO
const OF_S: u32 = 2;
const OF_D: u32 = 3;

fn element(operand: u32, i: u32, j: u32) -> f32 {
    var spot: Place;
    var value = 0.0;
    if operand == OF_V {
        spot = in_values(i, j);
        value = f32(v[spot.at]);
    } else if operand == OF_DO {
        spot = in_values(i, j);
        value = params.scale * f32(d_o[spot.at]);
    } else if operand == OF_S {
        spot = in_state(i, j);
        value = s[spot.at];
    } else {
        spot = in_state(i, j);
        value = d[spot.at];
    }
    return select(0.0, value, spot.ok);
}

@compute @workgroup_size({THREADS})
fn channel_state_bwd(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let n0 = set_tile(wg, params.dk) * 64u;
    tile_lanes(lane);
    let t1 = product(zero_tile(), OF_DO, false, 0u, OF_S, true, n0, params.dv);
    let t3 = product(zero_tile(), OF_V, false, 0u, OF_D, true, n0, params.dv);
#for r in 0..4
    if is_row(4u * y + {r}u) {
#for c in 0..4
        {
            let i = 4u * y + {r}u;
            let j = n0 + 4u * x + {c}u;
            if j < params.dk {
                x1[row(i) * params.dk + j] = t1.r{r}[{c}] * decay_in(i, j);
                x3[row(i) * params.dk + j] = t3.r{r}[{c}] * decay_out(i, j);
            }
        }
#end
    }
#end
    for (var m0 = 0u; m0 < 64u; m0 += C) {
        var part = vec4(0.0);
        for (var j = x; j < params.dv; j += 16u) {
#for r in 0..4
            part[{r}] += element(OF_S, n0 + m0 + 4u * y + {r}u, j) * element(OF_D, n0 + m0 + 4u * y + {r}u, j);
#end
        }
        let sum = row_sums(part, lane);
        let channel = n0 + m0 + lane;
        if lane < C && channel < params.dk {
            through[block() * params.dk + channel] = decay_whole(channel) * sum;
        }
    }
}
