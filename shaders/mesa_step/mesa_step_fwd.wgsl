// o = N^T x, (M + diag(lambda)) x = q, by conjugate gradients with diag(lambda) as preconditioner, from x = 0, until the
// residual is that of rounding. q is scaled to a sum of magnitudes of 1, so that no square underflows.
// A workgroup a head; thread j < D has component j of the vectors; for products with a matrix 256 / COLUMNS threads share
// a column. Grid: ops::grid_1d over B H. Host: D <= COLUMNS <= 256, a power of two. Source: models.md 4.14.
#import lib/grid
#import lib/sum256

const COLUMNS: u32 = 128;
const SHARES: u32 = 256 / COLUMNS;
const TOLERANCE: f32 = 2.2e-16; // of the squared residual: (2^-26)^2
const SMALLEST: f32 = 1e-37; // a q below this counts as it

alias t_q = f32;
alias t_o = f32;

struct Params { heads: u32, h: u32, d: u32 } // heads: B H

@group(0) @binding(0) var<storage, read_write> q: array<t_q>; // [B, H, D]
@group(0) @binding(1) var<storage, read_write> lambda: array<f32>; // [H, D]
@group(0) @binding(2) var<storage, read_write> m: array<f32>; // [B, H, D, D], symmetric
@group(0) @binding(3) var<storage, read_write> n: array<f32>; // [B, H, D, D]
@group(0) @binding(4) var<storage, read_write> o: array<t_o>; // [B, H, D]
@group(0) @binding(5) var<uniform> params: Params;

var<workgroup> vector: array<f32, 256>; // what a matrix is multiplied with
var<workgroup> parts: array<f32, 256>;
var<workgroup> going: u32;

// Component `thread` of a product with a matrix: the sum over the shares of its column; 0 past D.
fn shares_sum(thread: u32) -> f32 {
    var sum = 0.0;
    if thread < params.d {
        for (var share = 0u; share < SHARES; share++) {
            sum += parts[share * COLUMNS + thread];
        }
    }
    return sum;
}

@compute @workgroup_size(256)
fn mesa_step_fwd(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let head = workgroup_index(wg, count);
    if head >= params.heads {
        return;
    }
    let matrix = head * params.d * params.d;
    let column = thread % COLUMNS;
    // Shares of columns past D have no rows.
    let rows = select(0u, params.d, column < params.d);
    var right_side = 0.0;
    var own = 1.0; // lambda
    if thread < params.d {
        right_side = f32(q[head * params.d + thread]);
        own = lambda[head % params.h * params.d + thread];
    }
    let size = max(sum256(thread, abs(right_side)), SMALLEST);
    var solution = 0.0;
    var residual = right_side / size;
    var direction = residual / own;
    vector[thread] = direction;
    var error = sum256(thread, residual * direction);
    let enough = TOLERANCE * error;
    for (var step = 0u; step < 4u * params.d + 32u; step++) {
        if thread == 0u {
            going = select(0u, 1u, error > enough);
        }
        if workgroupUniformLoad(&going) == 0u {
            break;
        }
        var part = 0.0;
        for (var i = thread / COLUMNS; i < rows; i += SHARES) {
            part += m[matrix + i * params.d + column] * vector[i];
        }
        parts[thread] = part;
        workgroupBarrier();
        let image = shares_sum(thread) + own * direction;
        let curvature = sum256(thread, direction * image);
        let goes_on = curvature > 0.0;
        let length = select(0.0, error / curvature, goes_on);
        solution += length * direction;
        residual -= length * image;
        let descent = residual / own;
        let next = sum256(thread, residual * descent);
        direction = descent + next / error * direction;
        vector[thread] = direction;
        error = select(0.0, next, goes_on);
    }
    workgroupBarrier();
    vector[thread] = size * solution;
    workgroupBarrier();
    var part = 0.0;
    for (var i = thread / COLUMNS; i < rows; i += SHARES) {
        part += n[matrix + i * params.d + column] * vector[i];
    }
    parts[thread] = part;
    workgroupBarrier();
    let sum = shares_sum(thread);
    if thread < params.d {
        o[head * params.d + thread] = t_o(sum);
    }
}
