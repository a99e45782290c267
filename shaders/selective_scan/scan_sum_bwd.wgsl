// dB or dC from the tiles' partial sums, in order: sums[first + i] (+)= sum over tiles of partials[tile, i].
// A thread an element; grid: ops::grid_1d over ceil(n / 256).
#import lib/grid

alias t_sums = f32;

struct Params { n: u32, tiles: u32, first: u32, accumulate: u32 }

@group(0) @binding(0) var<storage, read_write> partials: array<f32>; // [tiles, n]
@group(0) @binding(1) var<storage, read_write> sums: array<t_sums>; // [B, T, N]
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(256)
fn scan_sum_bwd(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let i = workgroup_index(wg, count) * 256u + thread;
    if i >= params.n {
        return;
    }
    var sum = 0.0;
    if params.accumulate != 0u {
        sum = f32(sums[params.first + i]);
    }
    for (var tile = 0u; tile < params.tiles; tile++) {
        sum += partials[tile * params.n + i];
    }
    sums[params.first + i] = t_sums(sum);
}
