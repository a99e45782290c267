// The recurrence over chunks: the state at each chunk's start, and the values that each chunk writes. A workgroup a
// (64 columns of d_v, h, b), sequential over chunks; grid (ceil(d_v / 64), H, B). `vn` holds R = diag(beta) (V -
// diag(in) K S) and then Vn = Tm R. Source: Yang et al. 2024, section 3.
alias t_k = f32;
alias t_v = f32;
alias t_vn = f32;
#import lib/tile
#import lib/chunk
#import lib/store
#import lib/row_decays

#if WIDE
alias a_k = vec4<t_k>;
alias a_v = vec4<t_v>;
alias a_vn = vec4<t_vn>;
#else
alias a_k = t_k;
alias a_v = t_v;
alias a_vn = t_vn;
#endif

@group(0) @binding(0) var<storage, read_write> k: array<a_k>; // [B, T HOUSEHOLDER, H, d_k]
@group(0) @binding(1) var<storage, read_write> v: array<a_v>; // [B, T HOUSEHOLDER, H, d_v]
@group(0) @binding(2) var<storage, read_write> table: array<f32>; // [B, H, chunks, fields, C]
@group(0) @binding(3) var<storage, read_write> tm: array<Value>; // [B, H, chunks, C, C]
@group(0) @binding(4) var<storage, read_write> states: array<Value>; // [B, H, chunks, d_k, d_v]
@group(0) @binding(5) var<storage, read_write> vn: array<a_vn>; // [B, T HOUSEHOLDER, H, d_v]
@group(0) @binding(6) var<uniform> params: Params;

const OF_K: u32 = 0; // by CHANNEL in * K
const OF_K_OUT: u32 = 1; // diag(out) K
const OF_STATE: u32 = 2;
const OF_TM: u32 = 3;
const OF_VN: u32 = 4;
const OF_V: u32 = 5;

fn element(operand: u32, i: u32, j: u32) -> Value {
    var spot: Spot;
    var value = Value();
    if operand == OF_K || operand == OF_K_OUT {
        spot = in_keys(i, j);
        value = Value(k[spot.at]);
        let row_i = select(0u, i, spot.ok);
        let col = select(0u, j, spot.ok);
        if operand == OF_K_OUT {
            value *= decays_out(row_i, col);
        }
#if CHANNEL
        if operand == OF_K {
            value *= decays_in(row_i, col);
        }
#endif
    } else if operand == OF_STATE {
        spot = in_state(i, j);
        value = states[spot.at];
    } else if operand == OF_TM {
        spot = in_square(i, j);
        value = tm[spot.at];
    } else if operand == OF_V {
        spot = in_values(i, j);
        value = Value(v[spot.at]);
    } else {
        spot = in_values(i, j);
        value = Value(vn[spot.at]);
    }
    return select(Value(), value, spot.ok);
}

fn store(at: u32, value: Value) {
    vn[at] = a_vn(value);
}

@compute @workgroup_size({THREADS})
fn state_fwd(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let n0 = wg.x * 64u;
    head = wg.y;
    batch = wg.z;
    tile_lanes(lane);
    chunk = 0u;
    for (var n = lane * WIDTH; n < params.d_k * 64u; n += THREADS * WIDTH) {
        let j = n0 + n % 64u;
        if j < params.d_v {
            states[((block() * params.d_k + n / 64u) * params.d_v + j) / WIDTH] = Value();
        }
    }
    for (var done = 0u; done < params.chunks; done++) {
        chunk = done;
        storageBarrier();
        var t = product(zero_tile(), OF_K, false, 0u, OF_STATE, false, n0, from_state(done, params.d_k));
#for r in 0..4
        {
            let i = 4u * y + {r}u;
#if CHANNEL
            t.r{r} = elements(OF_V, i, n0 + 4u * x) - t.r{r};
#else
            t.r{r} = elements(OF_V, i, n0 + 4u * x) - decay_in(i, 0u) * t.r{r};
#endif
            t.r{r} *= strength(i);
        }
#end
        store_values(t, n0);
        storageBarrier();
        t = product(zero_tile(), OF_TM, false, 0u, OF_VN, false, n0, rows_of(done));
        storageBarrier();
        store_values(t, n0);
        storageBarrier();
        if done + 1u < params.chunks {
            for (var m0 = 0u; m0 < params.d_k; m0 += CHUNK) {
                t = product(zero_tile(), OF_K_OUT, true, m0, OF_VN, false, n0, rows_of(done));
#for r in 0..4
                if m0 + 4u * y + {r}u < params.d_k {
                    let a = decay_whole(m0 + 4u * y + {r}u);
#for c in 0..4/WIDTH
                    if n0 + 4u * x + {c}u < params.d_v {
                        let at = ((block() * params.d_k + m0 + 4u * y + {r}u) * params.d_v + n0 + 4u * x + {c}u) / WIDTH;
#if WIDE
                        let added = t.r{r};
#else
                        let added = t.r{r}[{c}];
#endif
                        states[at + params.d_k * params.d_v / WIDTH] = fma(Value(a), states[at], added);
                    }
#end
                }
#end
            }
        }
    }
}
