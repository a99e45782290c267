// The recurrence over chunks, backwards: D = dL/d state after each chunk, and dR of each chunk. A workgroup a (64
// columns of d_v, h, b), sequential over chunks; grid (ceil(d_v / 64), H, B). `grad_v` holds dVn = P^T Do + diag(out)
// K D, then dR = Tm^T dVn, which error_bwd turns into dV = diag(beta) dR. D <- a D + Q^T diag(in) Do - K^T diag(in)
// dV.
alias t_q = f32;
alias t_k = f32;
alias t_grad_o = f32;
alias t_grad_v = f32;
#import lib/tile
#import lib/chunk
#import lib/store
#import lib/row_decays

#if WIDE
alias a_grad_o = vec4<t_grad_o>;
alias a_grad_v = vec4<t_grad_v>;
alias a_k = vec4<t_k>;
alias a_q = vec4<t_q>;
#else
alias a_grad_o = t_grad_o;
alias a_grad_v = t_grad_v;
alias a_k = t_k;
alias a_q = t_q;
#endif

@group(0) @binding(0) var<storage, read_write> q: array<a_q>; // [B, T, H, d_k]
@group(0) @binding(1) var<storage, read_write> k: array<a_k>; // [B, T HOUSEHOLDER, H, d_k]
@group(0) @binding(2) var<storage, read_write> table: array<f32>; // [B, H, chunks, fields, C]
@group(0) @binding(3) var<storage, read_write> tm: array<Value>; // [B, H, chunks, C, C]
@group(0) @binding(4) var<storage, read_write> scores: array<Value>; // [B, H, chunks, QUERIES (by CHANNEL C), C]
@group(0) @binding(5) var<storage, read_write> grad_o: array<a_grad_o>; // [B, T, H, d_v]
@group(0) @binding(6) var<storage, read_write> grad_v: array<a_grad_v>; // [B, T HOUSEHOLDER, H, d_v]
@group(0) @binding(7) var<storage, read_write> grad_states: array<Value>; // [B, H, chunks, d_k, d_v]
@group(0) @binding(8) var<uniform> params: Params;

const OF_K: u32 = 0; // diag(out) K
const OF_Q_IN: u32 = 1; // diag(in) Q
const OF_K_IN: u32 = 2; // -diag(in beta) K
const OF_GRAD_STATE: u32 = 3;
const OF_SCORES: u32 = 4;
const OF_TM: u32 = 5;
const OF_GRAD_O: u32 = 6; // scale dO
const OF_GRAD_V: u32 = 7;

fn element(operand: u32, i: u32, j: u32) -> Value {
    var spot: Spot;
    var value = Value();
    if operand == OF_Q_IN {
        spot = in_queries(i, j);
        value = decays_in(last(select(0u, i, spot.ok)), select(0u, j, spot.ok)) * Value(q[spot.at]);
    } else if operand == OF_K_IN {
        spot = in_keys(i, j);
        let row_i = select(0u, i, spot.ok);
        value = -decays_in(row_i, select(0u, j, spot.ok)) * strength(row_i) * Value(k[spot.at]);
    } else if operand == OF_K {
        spot = in_keys(i, j);
        value = Value(k[spot.at]);
        value *= decays_out(select(0u, i, spot.ok), select(0u, j, spot.ok));
    } else if operand == OF_GRAD_STATE {
        spot = in_state(i, j);
        value = grad_states[spot.at];
    } else if operand == OF_SCORES {
#if CHANNEL
        spot = in_square(last(i), j);
#else
        spot = in_scores(i, j);
#endif
        value = scores[spot.at];
    } else if operand == OF_TM {
        spot = in_square(i, j);
        value = tm[spot.at];
    } else if operand == OF_GRAD_O {
        spot = in_outputs(i, j);
        value = params.scale * Value(grad_o[spot.at]);
    } else {
        spot = in_values(i, j);
        value = Value(grad_v[spot.at]);
    }
    return select(Value(), value, spot.ok);
}

fn store(at: u32, value: Value) {
    grad_v[at] = a_grad_v(value);
}

@compute @workgroup_size({THREADS})
fn state_bwd(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let n0 = wg.x * 64u;
    head = wg.y;
    batch = wg.z;
    tile_lanes(lane);
    chunk = params.chunks - 1u;
    for (var n = lane * WIDTH; n < params.d_k * 64u; n += THREADS * WIDTH) {
        let j = n0 + n % 64u;
        if j < params.d_v {
            grad_states[((block() * params.d_k + n / 64u) * params.d_v + j) / WIDTH] = Value();
        }
    }
    for (var done = 0u; done < params.chunks; done++) {
        let here = params.chunks - 1u - done;
        chunk = here;
        storageBarrier();
        var t = products(
            zero_tile(), 0u, n0,
            OF_K, false, OF_GRAD_STATE, false, from_grad_state(here, params.d_k),
            OF_SCORES, true, OF_GRAD_O, false, queries_of(here),
        );
        store_values(t, n0);
        storageBarrier();
        t = product(zero_tile(), OF_TM, true, 0u, OF_GRAD_V, false, n0, rows_of(here));
        storageBarrier();
        store_values(t, n0);
        storageBarrier();
        if done + 1u < params.chunks {
            for (var m0 = 0u; m0 < params.d_k; m0 += CHUNK) {
                t = products(
                    zero_tile(), m0, n0,
                    OF_Q_IN, true, OF_GRAD_O, false, queries_of(here),
                    OF_K_IN, true, OF_GRAD_V, false, rows_of(here),
                );
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
                        grad_states[at - params.d_k * params.d_v / WIDTH] = fma(Value(a), grad_states[at], added);
                    }
#end
                }
#end
            }
        }
    }
}
