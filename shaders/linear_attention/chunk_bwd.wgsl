// Gradients inside a chunk, in the place of P: dP = tril(Do V^T), with a decay a head times Gam (E). SCALAR: for the
// log decays the sums of dP * P over i >= t > j. A workgroup a (chunk, h, b); grid (chunks, H, B). DECAYS: there is a
// decay a head.
const DECAYS: bool = true;
const SCALAR: bool = true;
alias t_grad_o = f32;
alias t_v = f32;
#import lib/tile
#import lib/chunk
#import lib/decay

#if WIDE
alias a_grad_o = vec4<t_grad_o>;
alias a_v = vec4<t_v>;
#else
alias a_grad_o = t_grad_o;
alias a_v = t_v;
#endif

@group(0) @binding(0) var<storage, read_write> grad_o: array<a_grad_o>; // [B, T, H, d_v]
@group(0) @binding(1) var<storage, read_write> v: array<a_v>; // [B, T, H, d_v]
@group(0) @binding(2) var<storage, read_write> scores: array<vec4<f32>>; // [B, H, chunks, C, C]: P, then E or dP
@group(0) @binding(3) var<storage, read_write> table: array<f32>; // [B, H, chunks, fields, C]
@group(0) @binding(4) var<uniform> params: Params;

const OF_GRAD_O: u32 = 0; // scale dO
const OF_V: u32 = 1;

fn element(operand: u32, i: u32, j: u32) -> Value {
    let spot = in_values(i, j);
    var value = Value();
    if operand == OF_GRAD_O {
        value = params.scale * Value(grad_o[spot.at]);
    } else {
        value = Value(v[spot.at]);
    }
    return select(Value(), value, spot.ok);
}

@compute @workgroup_size({THREADS})
fn chunk_bwd(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    set_chunk(wg);
    tile_lanes(lane);
#if DECAYS
    var here = 0.0;
    if lane < CHUNK {
        here = table[entry(LOG, lane)];
    }
    set_log_decay(lane, here);
#endif
    let at = (block() * CHUNK + 4u * y) * (CHUNK / 4u) + x;
#if SCALAR
    var m = zero_tile();
    if x <= y {
#for r in 0..4
        m.r{r} = scores[at + {r}u * (CHUNK / 4u)];
#end
    }
#endif
    let grad_p = product(zero_tile(), OF_GRAD_O, false, 0u, OF_V, true, 0u, params.d_v);
    let gam = gam_tile();
    if x <= y {
        let j = vec4(4u * x) + vec4(0u, 1u, 2u, 3u);
#for r in 0..4
#if SCALAR
        m.r{r} *= grad_p.r{r};
#endif
        scores[at + {r}u * (CHUNK / 4u)] = select(vec4(0.0), grad_p.r{r} * gam.r{r}, j <= vec4(4u * y + {r}u));
#end
    }
#if SCALAR
    write_rectangles(m, lane);
#endif
}
