// Register-tiled products of the attention kernels: 128 threads, thread (ty, tx) = (lane / 8, lane % 8). A tile has
// ROWS rows (thread: ty + 16 i, i < RM) against 32 columns (thread: 4 tx .. 4 tx + 3). Operands pass through workgroup
// memory as slices 32 floats wide, a row being 8 vec4s and one more, so that rows start in different banks.
// The importing kernel declares RM (rows a thread), SLICES = ceil(D / 32) and VEC.
const ROWS: u32 = 16u * RM;
const PITCH: u32 = 9u;

alias Acc = array<vec4<f32>, RM>;

var<workgroup> left: array<vec4<f32>, ROWS * PITCH>;
var<workgroup> right: array<vec4<f32>, 32u * PITCH>;

// Place of row r in `right` for multiply_rows: there, threads then read neighbouring places.
fn spread(r: u32) -> u32 {
    return (r & 3u) * 8u + (r >> 2u);
}

// acc += left right^T over one slice, the rows of `right` spread.
fn multiply_rows(acc: ptr<function, Acc>, ty: u32, tx: u32) {
    for (var c = 0u; c < 8u; c++) {
        let b0 = right[tx * PITCH + c];
        let b1 = right[(tx + 8u) * PITCH + c];
        let b2 = right[(tx + 16u) * PITCH + c];
        let b3 = right[(tx + 24u) * PITCH + c];
        let bx = vec4<f32>(b0.x, b1.x, b2.x, b3.x);
        let by = vec4<f32>(b0.y, b1.y, b2.y, b3.y);
        let bz = vec4<f32>(b0.z, b1.z, b2.z, b3.z);
        let bw = vec4<f32>(b0.w, b1.w, b2.w, b3.w);
#for i in 0..RM
        let a{i} = left[(ty + {16 * i}u) * PITCH + c];
        (*acc)[{i}] = fma(vec4<f32>(a{i}.x), bx, (*acc)[{i}]);
        (*acc)[{i}] = fma(vec4<f32>(a{i}.y), by, (*acc)[{i}]);
        (*acc)[{i}] = fma(vec4<f32>(a{i}.z), bz, (*acc)[{i}]);
        (*acc)[{i}] = fma(vec4<f32>(a{i}.w), bw, (*acc)[{i}]);
#end
    }
}

// acc += left right, `left` 32 wide, `right` 32 rows of a slice in order.
fn multiply_columns(acc: ptr<function, Acc>, ty: u32, tx: u32) {
    for (var c = 0u; c < 8u; c++) {
        let b0 = right[(4u * c) * PITCH + tx];
        let b1 = right[(4u * c + 1u) * PITCH + tx];
        let b2 = right[(4u * c + 2u) * PITCH + tx];
        let b3 = right[(4u * c + 3u) * PITCH + tx];
#for i in 0..RM
        let a{i} = left[(ty + {16 * i}u) * PITCH + c];
        (*acc)[{i}] = fma(vec4<f32>(a{i}.x), b0, (*acc)[{i}]);
        (*acc)[{i}] = fma(vec4<f32>(a{i}.y), b1, (*acc)[{i}]);
        (*acc)[{i}] = fma(vec4<f32>(a{i}.z), b2, (*acc)[{i}]);
        (*acc)[{i}] = fma(vec4<f32>(a{i}.w), b3, (*acc)[{i}]);
#end
    }
}

// Which of the components 4 c .. 4 c + 3 lie in a row of width d.
fn inside(c: u32, d: u32) -> vec4<bool> {
    return vec4<u32>(4u * c) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(d);
}

// Offsets 0 .. 3, each the last one inside the row where it would be past it; 4 c < d.
fn offsets(c: u32, d: u32) -> vec4<u32> {
    return min(vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(d - 1u - 4u * c));
}
