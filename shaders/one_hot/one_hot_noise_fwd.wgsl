// u = one-hot rows of the symbols plus level n. Without GIVEN n comes from the generator: its counter is (channel / 4, step,
// idx, split), its key (seed, NOISE_KEY); mirrors `philox::noise`. A thread four channels of a row, which share one call of
// the generator; grid: ops::grid_1d over ceil(rows groups / 256), groups = ceil(V / 4).
#import lib/grid
#import lib/philox

alias t_n = f32;
alias t_u = f32;

const GIVEN: bool = false;
const NOISE_KEY: u32 = 0;

struct Params { rows: u32, vocab: u32, groups: u32, t: u32, level: f32 }

@group(0) @binding(0) var<storage, read_write> symbols: array<u32>; // [rows]
#if GIVEN
@group(0) @binding(1) var<storage, read_write> n: array<t_n>;       // [rows, V]
#else
@group(0) @binding(1) var<storage, read_write> samples: array<u32>; // [B, 4]: seed, split, idx, steps
#endif
@group(0) @binding(2) var<storage, read_write> u: array<t_u>;       // [rows, V]
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(256)
fn one_hot_noise_fwd(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let item = workgroup_index(wg, count) * 256u + lane;
    if item >= params.rows * params.groups {
        return;
    }
    let row = item / params.groups;
    let group = item % params.groups;
    let symbol = symbols[row];
#if !GIVEN
    let sample = row / params.t * 4u;
    let step = row % params.t;
    let counter = vec4(group, step, samples[sample + 2u], samples[sample + 1u]);
    let words = philox4x32(counter, vec2(samples[sample], NOISE_KEY));
    let level = select(0.0, params.level, step < samples[sample + 3u]);
#endif
#for k in 0..4
    let c_{k} = group * 4u + {k}u;
    if c_{k} < params.vocab {
        let at = row * params.vocab + c_{k};
        let one = select(0.0, 1.0, symbol == c_{k});
#if GIVEN
        u[at] = t_u(one + params.level * f32(n[at]));
#else
        u[at] = t_u(one + level * (f32(words[{k}] >> 8u) * 5.9604644775390625e-8));
#endif
    }
#end
}
