// For the gradients of the log decays: <S, D> over 64 rows of the states. Imports: lib/tile, lib/chunk; the importing
// kernel has bindings `states`, `grad_states` [B, H, chunks, d_k, d_v] and `table`.

// Writes the partial sum of rows 64 tile .. of the states.
fn write_state_sum(tile: u32, lane: u32) {
    let first = (block() * params.d_k + tile * 64u) * params.d_v / WIDTH;
    let values = from_grad_state(chunk, from_state(chunk, min(64u, params.d_k - tile * 64u) * params.d_v / WIDTH));
    var sum = Value();
    // Four pairs are asked for at once.
    for (var n = lane; n < values; n += 4u * THREADS) {
#for i in 0..4
        let at{i} = first + min(n + {i}u * THREADS, values - 1u);
        let s{i} = states[at{i}];
        let d{i} = grad_states[at{i}];
#end
#for i in 0..4
        sum = fma(s{i}, select(Value(), d{i}, n + {i}u * THREADS < values), sum);
#end
    }
    let total = workgroup_sum(components_sum(sum), lane);
    if lane == 0u {
        table[entry(STATE, tile)] = total;
    }
}
