// The recurrence over chunks. Forward the state at each chunk's start, S' = diag(a) S + (K * out)^T V; BACKWARD, from
// the last chunk on, D = dL/d state after each chunk, D <- diag(a) D + (Q * in)^T Do. A workgroup a (C rows and 64
// columns of the state, h, b), which it keeps in registers, sequential over chunks; grid (ceil(d_k / C) ceil(d_v /
// 64), H, B). Source: Yang et al. 2024, section 4.
const BACKWARD: bool = false;
alias t_keys = f32;
alias t_values = f32;
#import lib/tile
#import lib/chunk
#import lib/row_decays

#if WIDE
alias a_keys = vec4<t_keys>;
alias a_values = vec4<t_values>;
#else
alias a_keys = t_keys;
alias a_values = t_values;
#endif

@group(0) @binding(0) var<storage, read_write> keys: array<a_keys>; // K or Q [B, T, H or 1, d_k]
@group(0) @binding(1) var<storage, read_write> values: array<a_values>; // V or dO [B, T, H, d_v]
@group(0) @binding(2) var<storage, read_write> table: array<Factors>; // decay factors
@group(0) @binding(3) var<storage, read_write> states: array<Value>; // S or D [B, H, chunks, d_k, d_v]
@group(0) @binding(4) var<uniform> params: Params;

const OF_KEYS: u32 = 0; // K * out or Q * in
const OF_VALUES: u32 = 1; // V or scale dO

fn element(operand: u32, i: u32, j: u32) -> Value {
    var value = Value();
    let ok = is_row(i) & (j < select(params.d_v, params.d_k, operand == OF_KEYS));
    let row_i = select(0u, i, ok);
    let col = select(0u, j, ok);
    if operand == OF_KEYS {
        value = Value(keys[(key_row(row_i) * params.d_k + col) / WIDTH]);
#if BACKWARD
        value *= decays_in(row_i, col);
#else
        value *= decays_out(row_i, col);
#endif
    } else {
        value = Value(values[(row(row_i) * params.d_v + col) / WIDTH]);
#if BACKWARD
        value *= params.scale;
#endif
    }
    return select(Value(), value, ok);
}

@compute @workgroup_size({THREADS})
fn chunk_states(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let tiles = (params.d_v + 63u) / 64u;
    let n0 = wg.x % tiles * 64u;
    let m0 = wg.x / tiles * CHUNK;
    head = wg.y;
    batch = wg.z;
    tile_lanes(lane);
    var t = zero_tile();
    for (var done = 0u; done < params.chunks; done++) {
#if BACKWARD
        let here = params.chunks - 1u - done;
#else
        let here = done;
#endif
        chunk = here;
#for r in 0..4
        if m0 + 4u * y + {r}u < params.d_k {
            let at = (block() * params.d_k + m0 + 4u * y + {r}u) * params.d_v + n0 + 4u * x;
#if WIDE
            if n0 + 4u * x < params.d_v {
                states[at / WIDTH] = t.r{r};
            }
#else
#for c in 0..4
            if n0 + 4u * x + {c}u < params.d_v {
                states[at + {c}u] = t.r{r}[{c}];
            }
#end
#endif
            t.r{r} *= decay_whole(m0 + 4u * y + {r}u);
        }
#end
        if done + 1u < params.chunks {
            t = product(t, OF_KEYS, true, m0, OF_VALUES, false, n0, rows_of(here));
        }
    }
}
