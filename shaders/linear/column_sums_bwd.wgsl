// Sums of the columns of dy over `part` rows: the first stage of db. A workgroup takes 32 columns of one part, 8 threads
// a column. Grid: [ceil(cols / 32), ceil(rows / part), 1].
alias t_grad_y = f32;

struct Params { rows: u32, cols: u32, part: u32, row: u32 } // elements of a row as stored

@group(0) @binding(0) var<storage, read_write> grad_y: array<t_grad_y>; // [rows, row]
@group(0) @binding(1) var<storage, read_write> sums: array<f32>; // [ceil(rows / part), cols]
@group(0) @binding(2) var<uniform> params: Params;

var<workgroup> partial: array<f32, 256>;

@compute @workgroup_size(256)
fn column_sums_bwd(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let col = wg.x * 32u + lane % 32u;
    let end = min((wg.y + 1u) * params.part, params.rows);
    var sum = 0.0;
    if col < params.cols {
        for (var row = wg.y * params.part + lane / 32u; row < end; row += 8u) {
            sum += f32(grad_y[row * params.row + col]);
        }
    }
    partial[lane] = sum;
    workgroupBarrier();
    if lane < 32u && col < params.cols {
        for (var i = 1u; i < 8u; i += 1u) {
            sum += partial[lane + 32u * i];
        }
        sums[wg.y * params.cols + col] = sum;
    }
}
