// h <- [DECAYS] exp(dt A) h + write Bm, y = (Cm . h + D u) gate, with `values` of scan_step_values_fwd. A row of lib/row
// is a channel of a sequence, a column a state. Grid: ops::grid_1d over groups of rows. Source: models.md 4.7, 7.
#import lib/grid
#import lib/row
#import lib/decay_factor

const DECAYS: bool = true;

alias t_bm = f32;
alias t_cm = f32;
alias t_y = f32;

struct Params { rows: u32, channels: u32, states: u32 } // B E, E, N

@group(0) @binding(0) var<storage, read_write> values: array<vec4<f32>>; // [B, E]: dt, write, D u, gate
@group(0) @binding(1) var<storage, read_write> bm: array<t_bm>; // [B, N]
@group(0) @binding(2) var<storage, read_write> cm: array<t_cm>; // [B, N]
#if DECAYS
@group(0) @binding(3) var<storage, read_write> a_log: array<f32>; // [E, N]
#endif
@group(0) @binding(4) var<storage, read_write> y: array<t_y>; // [B, E]
@group(0) @binding(5) var<storage, read_write> state: array<f32>; // [B, E, N]
@group(0) @binding(6) var<uniform> params: Params;

@compute @workgroup_size(256)
fn scan_step_fwd(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let row = workgroup_index(wg, count) * ROWS_AT_ONCE + thread / LANES;
    let lane = thread % LANES;
    let width = select(0u, params.states, row < params.rows);
    let value = values[min(row, params.rows - 1u)];
    let at = row * params.states;
    let shared_at = row / params.channels * params.states;
#if DECAYS
    let rate_at = row % params.channels * params.states;
#endif
    var sum = 0.0;
#for k in 0..PER
    let n{k} = {k}u * LANES + lane;
    if n{k} < width {
        var h = state[at + n{k}];
#if DECAYS
        h *= decay_factor(-value.x * exp_wide(clamp(a_log[rate_at + n{k}], -87.0, 87.0)));
#endif
        h += value.y * f32(bm[shared_at + n{k}]);
        state[at + n{k}] = h;
        sum += h * f32(cm[shared_at + n{k}]);
    }
#end
    let total = row_sum(vec2(sum, 0.0), thread).x;
    if lane < min(width, 1u) {
        y[row] = t_y((total + value.z) * value.w);
    }
}
