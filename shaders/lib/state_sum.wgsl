// For the gradients of the log decays: <S, D> over 64 rows of the states. Imports: lib/tile, lib/chunk; the importing
// kernel has bindings `states`, `grad_states` [B, H, chunks, d_k, d_v] and `table`.

// Writes the partial sum of rows 64 tile .. of the states.
fn write_state_sum(tile: u32, lane: u32) {
    let first = (block() * params.d_k + tile * 64u) * params.d_v / WIDTH;
    let values = min(64u, params.d_k - tile * 64u) * params.d_v / WIDTH;
    var sum = Value();
    for (var n = lane; n < values; n += THREADS) {
        sum = fma(states[first + n], grad_states[first + n], sum);
    }
    let total = workgroup_sum(components_sum(sum), lane);
    if lane == 0u {
        table[entry(STATE, tile)] = total;
    }
}
