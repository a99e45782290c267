// Gradients inside a chunk: E = tril(Do Vn^T) * Gam in the place of P (a row a query), F + F^T with F = -stril(dV
// Vn^T) * Gam in the place of G, and for the log decays the sums over i >= t > j of M = tril(Do Vn^T) * P - stril(dV
// Vn^T) * G. A workgroup a (chunk, h, b); grid (chunks, H, B).
const DECAYS: bool = true;
alias t_grad_o = f32;
alias t_grad_v = f32;
#import lib/tile
#import lib/chunk
#import lib/decay

@group(0) @binding(0) var<storage, read_write> grad_o: array<t_grad_o>; // [B, T, H, d_v]
@group(0) @binding(1) var<storage, read_write> grad_v: array<t_grad_v>; // [B, T HOUSEHOLDER, H, d_v]
@group(0) @binding(2) var<storage, read_write> vn: array<f32>; // [B, T HOUSEHOLDER, H, d_v]
@group(0) @binding(3) var<storage, read_write> scores: array<f32>; // [B, H, chunks, QUERIES, C]: P, then E
@group(0) @binding(4) var<storage, read_write> lower: array<f32>; // [B, H, chunks, C, C]: G, then F + F^T
@group(0) @binding(5) var<storage, read_write> table: array<f32>; // [B, H, chunks, fields, C]
#if DECAYS
@group(0) @binding(6) var<storage, read_write> g: array<f32>; // [B, T, H]
#endif
@group(0) @binding({6 + DECAYS}) var<uniform> params: Params;

const OF_GRAD_O: u32 = 0; // scale dO at the last row of each token, elsewhere 0
const OF_GRAD_V: u32 = 1;
const OF_VN: u32 = 2;

fn element(operand: u32, i: u32, j: u32) -> f32 {
    var spot = in_values(i, j);
    var value = 0.0;
    if operand == OF_GRAD_O {
        spot = spot_at(query(token(i)) * params.d_v + j, spot.ok && is_last(i));
        value = params.scale * f32(grad_o[spot.at]);
    } else if operand == OF_GRAD_V {
        value = f32(grad_v[spot.at]);
    } else {
        value = vn[spot.at];
    }
    return select(0.0, value, spot.ok);
}

@compute @workgroup_size({THREADS})
fn chunk_bwd(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    set_chunk(wg);
    tile_lanes(lane);
#if DECAYS
    var here = 0.0;
    if is_row(lane) && is_first(lane) {
        here = max(g[query(token(lane))], -1e4);
    }
    set_log_decay(lane, here);
#endif
    let gam = gam_tile();
    let of_p = product(zero_tile(), OF_GRAD_O, false, 0u, OF_VN, true, 0u, params.d_v);
    let of_g = product(zero_tile(), OF_GRAD_V, false, 0u, OF_VN, true, 0u, params.d_v);
    let base = block() * C * C;
    var m = zero_tile();
    if x <= y {
#for r in 0..4
#for c in 0..4
        {
            let i = 4u * y + {r}u;
            let j = 4u * x + {c}u;
            if j < i {
                let at = base + i * C + j;
                let mirrored = base + j * C + i;
                m.r{r}[{c}] = -of_g.r{r}[{c}] * lower[at];
                if is_last(i) {
                    let of_query = (block() * QUERIES + token(i)) * C + j;
                    m.r{r}[{c}] += of_p.r{r}[{c}] * scores[of_query];
                    scores[of_query] = of_p.r{r}[{c}] * gam.r{r}[{c}];
                }
                let f = -of_g.r{r}[{c}] * gam.r{r}[{c}];
                lower[at] = f;
                lower[mirrored] = f;
            } else if j == i && is_last(i) {
                scores[(block() * QUERIES + token(i)) * C + i] = of_p.r{r}[{c}];
            }
        }
#end
#end
    }
#if DECAYS
    write_rectangles(m, lane);
#endif
}
