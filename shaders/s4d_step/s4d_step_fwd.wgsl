// h <- keep h + (f h + u), e^z = keep + f, and y = Re(2 Ct . h) + D u, with `planes` of s4d_discretise. A row of lib/row is
// a channel of a sequence, a column a complex state. After every eighth position states get back what rounding f took
// from them, as in s4d_scan_fwd. Grid: ops::grid_1d over groups of rows. Source: models.md 4.13, 7.
#import lib/grid
#import lib/row

const DRIFT: u32 = 8;
alias t_u = f32;
alias t_y = f32;

struct Params { rows: u32, channels: u32, states: u32 } // B d, d, N / 2

@group(0) @binding(0) var<storage, read_write> u: array<t_u>; // [B, d]
@group(0) @binding(1) var<storage, read_write> planes: array<f32>; // [7, d, N / 2]: f, keep, 2 Ct, drift
@group(0) @binding(2) var<storage, read_write> skip: array<f32>; // D [d]
@group(0) @binding(3) var<storage, read_write> position: array<u32>; // [1]
@group(0) @binding(4) var<storage, read_write> y: array<t_y>; // [B, d]
@group(0) @binding(5) var<storage, read_write> state: array<vec2<f32>>; // [B, d, N / 2]
@group(0) @binding(6) var<uniform> params: Params;

@compute @workgroup_size(256)
fn s4d_step_fwd(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let row = workgroup_index(wg, count) * ROWS_AT_ONCE + thread / LANES;
    let lane = thread % LANES;
    let width = select(0u, params.states, row < params.rows);
    let channel = row % params.channels;
    let plane = params.channels * params.states;
    let input = f32(u[min(row, params.rows - 1u)]);
    let gives_back = position[0] % DRIFT == DRIFT - 1u;
    var sum = 0.0;
#for k in 0..PER
    let n{k} = {k}u * LANES + lane;
    if n{k} < width {
        let own = channel * params.states + n{k};
        let f = vec2(planes[own], planes[plane + own]);
        let ct = vec2(planes[3u * plane + own], planes[4u * plane + own]);
        let at = row * params.states + n{k};
        let past = state[at];
        let change = vec2(f.x * past.x - f.y * past.y + input, f.x * past.y + f.y * past.x);
        var h = planes[2u * plane + own] * past + change;
        sum += ct.x * h.x - ct.y * h.y;
        if gives_back {
            let drift = f32(DRIFT) * vec2(planes[5u * plane + own], planes[6u * plane + own]);
            h += vec2(drift.x * h.x - drift.y * h.y, drift.x * h.y + drift.y * h.x);
        }
        state[at] = h;
    }
#end
    let total = row_sum(vec2(sum, 0.0), thread).x;
    if lane < min(width, 1u) {
        y[row] = t_y(skip[channel] * input + total);
    }
}
