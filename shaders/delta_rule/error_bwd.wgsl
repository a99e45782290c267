// What a chunk wrote, Vn = Tm diag(beta) U with U = V - diag(in) K S, and its prediction errors Y = U - G Vn, for
// dbeta = dR . Y (Vn / beta would not do for beta = 0); then dV = diag(beta) dR in the place of dR. A workgroup a
// (64 columns of d_v and chunk, h, b); grid (ceil(d_v / 64) chunks, H, B). `vn` holds diag(beta) U before Vn.
alias t_k = f32;
alias t_v = f32;
alias t_grad_v = f32;
#import lib/tile
#import lib/chunk
#import lib/store
#import lib/row_decays

#if WIDE
alias a_grad_v = vec4<t_grad_v>;
alias a_k = vec4<t_k>;
alias a_v = vec4<t_v>;
#else
alias a_grad_v = t_grad_v;
alias a_k = t_k;
alias a_v = t_v;
#endif

@group(0) @binding(0) var<storage, read_write> k: array<a_k>; // [B, T HOUSEHOLDER, H, d_k]
@group(0) @binding(1) var<storage, read_write> v: array<a_v>; // [B, T HOUSEHOLDER, H, d_v]
@group(0) @binding(2) var<storage, read_write> states: array<Value>; // [B, H, chunks, d_k, d_v]
@group(0) @binding(3) var<storage, read_write> tm: array<Value>; // [B, H, chunks, C, C]
@group(0) @binding(4) var<storage, read_write> lower: array<Value>; // [B, H, chunks, C, C]: G
@group(0) @binding(5) var<storage, read_write> table: array<f32>; // [B, H, chunks, fields, C]
@group(0) @binding(6) var<storage, read_write> vn: array<Value>; // [B, T HOUSEHOLDER, H, d_v]
@group(0) @binding(7) var<storage, read_write> grad_v: array<a_grad_v>; // [B, T HOUSEHOLDER, H, d_v]
@group(0) @binding(8) var<uniform> params: Params;

const OF_K: u32 = 0;
const OF_STATE: u32 = 1;
const OF_TM: u32 = 2;
const OF_LOWER: u32 = 3;
const OF_VN: u32 = 4;
const OF_V: u32 = 5;
const OF_GRAD_R: u32 = 6;

fn element(operand: u32, i: u32, j: u32) -> Value {
    var spot: Spot;
    var value = Value();
    if operand == OF_K {
        spot = in_keys(i, j);
        value = Value(k[spot.at]);
#if CHANNEL
        value *= decays_in(select(0u, i, spot.ok), select(0u, j, spot.ok));
#endif
    } else if operand == OF_STATE {
        spot = in_state(i, j);
        value = states[spot.at];
    } else if operand == OF_TM {
        spot = in_square(i, j);
        value = tm[spot.at];
    } else if operand == OF_LOWER {
        spot = in_square(i, j);
        value = lower[spot.at];
    } else if operand == OF_VN {
        spot = in_values(i, j);
        value = vn[spot.at];
    } else if operand == OF_V {
        spot = in_values(i, j);
        value = Value(v[spot.at]);
    } else {
        spot = in_values(i, j);
        value = Value(grad_v[spot.at]);
    }
    return select(Value(), value, spot.ok);
}

fn store(at: u32, value: Value) {
    vn[at] = value;
}

@compute @workgroup_size({THREADS})
fn error_bwd(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let tile = set_tile(wg, params.d_v);
    let n0 = tile * 64u;
    tile_lanes(lane);
    let i = 4u * y;
    let j = n0 + 4u * x;
    let here = chunk_of(wg, params.d_v);
    var u = product(zero_tile(), OF_K, false, 0u, OF_STATE, false, n0, from_state(here, params.d_k));
    var t: Tile;
#for r in 0..4
#if CHANNEL
    u.r{r} = elements(OF_V, i + {r}u, j) - u.r{r};
#else
    u.r{r} = elements(OF_V, i + {r}u, j) - decay_in(i + {r}u, 0u) * u.r{r};
#endif
    let beta{r} = strength(i + {r}u);
    t.r{r} = beta{r} * u.r{r};
#end
    store_values(t, n0);
    storageBarrier();
    t = product(zero_tile(), OF_TM, false, 0u, OF_VN, false, n0, rows_of(here));
    storageBarrier();
    store_values(t, n0);
    storageBarrier();
    t = product(zero_tile(), OF_LOWER, false, 0u, OF_VN, false, n0, rows_of(here));
    var part: vec4<f32>;
#for r in 0..4
    t.r{r} = u.r{r} - t.r{r};
    u.r{r} = elements(OF_GRAD_R, i + {r}u, j);
    part[{r}] = dot(u.r{r}, t.r{r});
    if is_row(i + {r}u) {
#if WIDE
        if j < params.d_v {
            grad_v[(row(i + {r}u) * params.d_v + j) / WIDTH] = a_grad_v(beta{r} * u.r{r});
        }
#else
#for c in 0..4
        if j + {c}u < params.d_v {
            grad_v[row(i + {r}u) * params.d_v + j + {c}u] = t_grad_v(beta{r} * u.r{r}[{c}]);
        }
#end
#endif
    }
#end
    let sum = row_sums(part, lane);
    if is_row(lane) {
        table[strength_part(tile, lane)] = sum;
    }
}
