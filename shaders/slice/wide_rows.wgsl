// Rows with zeros behind them, so that they consist of whole quads: rows -> wide, or with BACK wide -> rows without what is
// behind them. A thread a quad of `wide`; grid: ops::grid_1d over ceil(n / 256), n = rows ceil(width / 4).
#import lib/grid

const BACK: bool = false;

alias t_rows = f32;
alias t_wide = f32;

struct Params { n: u32, width: u32, quads: u32 }

@group(0) @binding(0) var<storage, read_write> rows: array<t_rows>; // [rows, width]
@group(0) @binding(1) var<storage, read_write> wide: array<vec4<t_wide>>; // [rows, quads]
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(256)
fn wide_rows(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let i = workgroup_index(wg, count) * 256u + lane;
    if i >= params.n {
        return;
    }
    let row = i / params.quads;
    let column = (i - row * params.quads) * 4u;
    let at = row * params.width + column;
#if BACK
    let x = wide[i];
#for c in 0..4
    if column + {c}u < params.width {
        rows[at + {c}u] = t_rows(x[{c}]);
    }
#end
#else
    let last = row * params.width + params.width - 1u;
#for c in 0..4
    let x{c} = select(t_wide(), t_wide(rows[min(at + {c}u, last)]), column + {c}u < params.width);
#end
    wide[i] = vec4<t_wide>(x0, x1, x2, x3);
#endif
}
