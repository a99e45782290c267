// One Adam update with the clipped gradient; nothing while stats say `halted` or `skipped`.
// A thread a parameter or, WIDE, four; grid: ops::grid_1d over ceil(n / 256) workgroups, n counting threads. Source: models.md 4.15.
#import lib/grid
#import lib/wide
#import lib/step
#import lib/update_stats

struct Params { n: u32, beta1: f32, alpha1: f32, beta2: f32, alpha2: f32, eps: f32 } // alpha = 1 - beta

@group(0) @binding(0) var<storage, read_write> g: array<Lanes>;     // [n]
@group(0) @binding(1) var<storage, read_write> stats: array<f32>; // [4]: norm, factor, halted, skipped
@group(0) @binding(2) var<storage, read_write> p: array<Lanes>;     // [n]
@group(0) @binding(3) var<storage, read_write> m: array<Lanes>;     // [n]
@group(0) @binding(4) var<storage, read_write> v: array<Lanes>;     // [n]
@group(0) @binding(5) var<uniform> params: Params;
@group(0) @binding(6) var<uniform> step: Step;

@compute @workgroup_size(256)
fn adam_fwd(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = workgroup_index(wg, count) * 256u + lane;
    if i >= params.n || stats[HALTED] + stats[SKIPPED] != 0.0 {
        return;
    }
    let grad = g[i] * stats[FACTOR];
    let first = params.beta1 * m[i] + params.alpha1 * grad;
    let second = params.beta2 * v[i] + params.alpha2 * grad * grad;
    m[i] = first;
    v[i] = second;
    p[i] -= step.step_size * first / (sqrt(second) * step.inv_sqrt_bias2 + params.eps);
}
