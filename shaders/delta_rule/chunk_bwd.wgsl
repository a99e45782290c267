// Gradients inside a chunk: E = tril(Do Vn^T) * Gam in the place of P (a row a query), F + F^T with F = -stril(dV
// Vn^T) * Gam in the place of G, and for the log decays the sums over i >= t > j of M = tril(Do Vn^T) * P - stril(dV
// Vn^T) * G. A workgroup a (chunk, h, b); grid (chunks, H, B).
const DECAYS: bool = true; // there is a decay a head
const SCALAR: bool = true; // from g, else RetNet's
const CHANNEL: bool = false; // the gradients of P and G alone, a row a write
alias t_grad_o = f32;
alias t_grad_v = f32;
#import lib/tile
#import lib/chunk
#import lib/decay
#import lib/retention

#if WIDE
alias a_grad_o = vec4<t_grad_o>;
alias a_grad_v = vec4<t_grad_v>;
#else
alias a_grad_o = t_grad_o;
alias a_grad_v = t_grad_v;
#endif

@group(0) @binding(0) var<storage, read_write> grad_o: array<a_grad_o>; // [B, T, H, d_v]
@group(0) @binding(1) var<storage, read_write> grad_v: array<a_grad_v>; // [B, T HOUSEHOLDER, H, d_v]
@group(0) @binding(2) var<storage, read_write> vn: array<Value>; // [B, T HOUSEHOLDER, H, d_v]
@group(0) @binding(3) var<storage, read_write> scores: array<vec4<f32>>; // [B, H, chunks, QUERIES, C]: P, then E
@group(0) @binding(4) var<storage, read_write> lower: array<vec4<f32>>; // [B, H, chunks, C, C]: G, then F + F^T
@group(0) @binding(5) var<storage, read_write> table: array<f32>; // [B, H, chunks, fields, C]
#if SCALAR
@group(0) @binding(6) var<storage, read_write> g: array<f32>; // [B, T, H]
#endif
@group(0) @binding(7) var<uniform> params: Params;

const OF_GRAD_O: u32 = 0; // scale dO at the last row of each token, elsewhere 0
const OF_GRAD_V: u32 = 1;
const OF_VN: u32 = 2;

fn element(operand: u32, i: u32, j: u32) -> Value {
    var spot = in_values(i, j);
    var value = Value();
    if operand == OF_GRAD_O {
        spot = spot_at(query(token(i)) * params.d_v + j, spot.ok & is_last(i));
        value = params.scale * Value(grad_o[spot.at]);
    } else if operand == OF_GRAD_V {
        value = Value(grad_v[spot.at]);
    } else {
        value = vn[spot.at];
    }
    return select(Value(), value, spot.ok);
}

@compute @workgroup_size({THREADS})
fn chunk_bwd(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    set_chunk(wg);
    tile_lanes(lane);
#if DECAYS
    var here = 0.0;
    if is_row(lane) && is_first(lane) {
#if SCALAR
        here = max(g[query(token(lane))], -1e4);
#else
        here = retention_log_decay(head);
#endif
    }
    set_log_decay(lane, here);
#endif
    let at = (block() * CHUNK + 4u * y) * (CHUNK / 4u) + x;
#if CHANNEL
    let of_p = product(zero_tile(), OF_GRAD_O, false, 0u, OF_VN, true, 0u, params.d_v);
    let of_g = product(zero_tile(), OF_GRAD_V, false, 0u, OF_VN, true, 0u, params.d_v);
    if x <= y {
        let j = vec4(4u * x) + vec4(0u, 1u, 2u, 3u);
#for r in 0..4
        scores[at + {r}u * (CHUNK / 4u)] = select(vec4(0.0), of_p.r{r}, j <= vec4(4u * y + {r}u));
        lower[at + {r}u * (CHUNK / 4u)] = select(vec4(0.0), -of_g.r{r}, j < vec4(4u * y + {r}u));
#end
    }
#else
    let gam = gam_tile();
    var p = zero_tile();
    var of_keys = zero_tile();
    if x <= y {
#for r in 0..4
        of_keys.r{r} = lower[at + {r}u * (CHUNK / 4u)];
        if is_last(4u * y + {r}u) {
            p.r{r} = scores[(block() * QUERIES + token(4u * y + {r}u)) * (CHUNK / 4u) + x];
        }
#end
    }
    let of_p = product(zero_tile(), OF_GRAD_O, false, 0u, OF_VN, true, 0u, params.d_v);
    let of_g = product(zero_tile(), OF_GRAD_V, false, 0u, OF_VN, true, 0u, params.d_v);
    var m = zero_tile();
    if x <= y {
        let j = vec4(4u * x) + vec4(0u, 1u, 2u, 3u);
        var f: Tile;
#for r in 0..4
        {
            let i = 4u * y + {r}u;
            m.r{r} = select(vec4(0.0), of_p.r{r} * p.r{r} - of_g.r{r} * of_keys.r{r}, j < vec4(i));
            f.r{r} = select(vec4(0.0), -of_g.r{r} * gam.r{r}, j < vec4(i));
            if is_last(i) {
                let e = select(vec4(0.0), of_p.r{r} * gam.r{r}, j <= vec4(i));
                scores[(block() * QUERIES + token(i)) * (CHUNK / 4u) + x] = e;
            }
        }
#end
#for r in 0..4
        {
            let across = vec4(f.r0[{r}], f.r1[{r}], f.r2[{r}], f.r3[{r}]);
            if x == y {
                lower[at + {r}u * (CHUNK / 4u)] = f.r{r} + across;
            } else {
                lower[at + {r}u * (CHUNK / 4u)] = f.r{r};
                lower[(block() * CHUNK + 4u * x + {r}u) * (CHUNK / 4u) + y] = across;
            }
        }
#end
    }
#if SCALAR
    write_rectangles(m, lane);
#endif
#endif
}
