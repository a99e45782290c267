// g = -exp(A_log) softplus(y + dt_bias) of the first h columns; beta = strongest sigma(y) of those behind them, if there are WRITES.
// Without RATES g = log sigma(y + decay_bias) and beta = strongest sigma(y + write_bias).
// A thread an element; grid: ops::grid_1d over ceil(rows (h + writes) / 256).
const RATES: bool = true;
const WRITES: bool = false;
alias t_y = f32;
#import lib/grid
#import lib/activation

struct Params { rows: u32, h: u32, writes: u32, strongest: f32, parts: u32 }

@group(0) @binding(0) var<storage, read_write> y: array<t_y>; // [rows, h + writes]
#if RATES
@group(0) @binding(1) var<storage, read_write> a_log: array<f32>; // [h]
#else
@group(0) @binding(1) var<storage, read_write> write_bias: array<f32>; // [writes]
#endif
@group(0) @binding(2) var<storage, read_write> decay_bias: array<f32>; // [h]
@group(0) @binding(3) var<storage, read_write> g: array<f32>; // [rows, h]
#if WRITES
@group(0) @binding(4) var<storage, read_write> beta: array<f32>; // [rows, writes]
#endif
@group(0) @binding(5) var<uniform> params: Params;

@compute @workgroup_size(256)
fn decay_gate_fwd(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let i = workgroup_index(wg, count) * 256u + thread;
    let width = params.h + params.writes;
    let row = i / width;
    let column = i % width;
    if row >= params.rows {
        return;
    }
    if column < params.h {
        let here = f32(y[i]) + decay_bias[column];
#if RATES
        g[row * params.h + column] = -exp(a_log[column]) * softplus(here);
#else
        g[row * params.h + column] = -softplus(-here);
#endif
    }
#if WRITES
    if column >= params.h {
        var here = f32(y[i]);
#if !RATES
        here += write_bias[column - params.h];
#endif
        beta[row * params.writes + column - params.h] = params.strongest * sigmoid(here);
    }
#endif
}
