// States in quads: four neighbours in a row of one of the scan's matrices with N columns, 0 past N. The importing kernel
// has a binding `params` with the number of `states` N, and defines `fn element(matrix: u32, i: u32) -> f32`: place i of
// a matrix that it reads, whose number is a constant at every call, so that the compiler keeps one branch.
const B: u32 = 0; // [B, T, N]
const C: u32 = 1; // [B, T, N]
const RATES: u32 = 2; // [E, N]

// Element n of a row; 0 past N or where not `inside`.
fn state(matrix: u32, row: u32, n: u32, inside: bool) -> f32 {
    let ok = inside && n < params.states;
    return select(0.0, element(matrix, select(0u, row * params.states + n, ok)), ok);
}

fn quad(matrix: u32, row: u32, n: u32) -> vec4<f32> {
    return vec4(
        state(matrix, row, n, true),
        state(matrix, row, n + 1u, true),
        state(matrix, row, n + 2u, true),
        state(matrix, row, n + 3u, true),
    );
}
