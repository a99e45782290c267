// Partial sums of dlambda = -sum_{b,t} y * x: part p takes the rows p, p + parts, .. A thread a column; grid (ceil(n /
// 256), parts).
alias t_x = f32;
alias t_y = f32;

struct Params { rows: u32, n: u32, parts: u32 }

@group(0) @binding(0) var<storage, read_write> x: array<t_x>; // [rows, n]
@group(0) @binding(1) var<storage, read_write> y: array<t_y>; // [rows, n]
@group(0) @binding(2) var<storage, read_write> sums: array<f32>; // [parts, n]
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(256)
fn lambda_bwd(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let column = wg.x * 256u + lane;
    if column >= params.n {
        return;
    }
    var sum = 0.0;
    for (var row = wg.y; row < params.rows; row += params.parts) {
        let at = row * params.n + column;
        sum -= f32(x[at]) * f32(y[at]);
    }
    sums[wg.y * params.n + column] = sum;
}
