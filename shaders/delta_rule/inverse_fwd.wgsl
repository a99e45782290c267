// Tm = (I + diag(beta) G)^-1 of a chunk by forward substitution, in the place of G. A workgroup a (chunk, h, b); grid
// (chunks, H, B). Source: Yang et al. 2024, section 3 (UT transform).
#import lib/tile
#import lib/chunk
#import lib/row_decays
#import lib/inverse

@group(0) @binding(0) var<storage, read_write> table: array<f32>; // of channel_factors_fwd
@group(0) @binding(1) var<storage, read_write> tm: array<vec4<f32>>; // [B, H, chunks, C, C]: G, then Tm
@group(0) @binding(2) var<uniform> params: Params;

fn element(operand: u32, i: u32, j: u32) -> Value {
    return Value();
}

@compute @workgroup_size({THREADS})
fn inverse_fwd(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    set_chunk(wg);
    tile_lanes(lane);
    var t = zero_tile();
    if x <= y {
#for r in 0..4
        t.r{r} = strength(4u * y + {r}u) * tm[(block() * CHUNK + 4u * y + {r}u) * (CHUNK / 4u) + x];
#end
    }
    set_triangle(t);
    workgroupBarrier();
    invert(lane);
    for (var n = lane; n < CHUNK * CHUNK / 4u; n += THREADS) {
        let at = 4u * n;
        let four = vec4(
            inverse_element(at), inverse_element(at + 1u), inverse_element(at + 2u), inverse_element(at + 3u),
        );
        tm[block() * (CHUNK * CHUNK / 4u) + n] = four;
    }
}
