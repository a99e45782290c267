// What the tiled attention kernels share. 128 threads, thread (ty, tx) = (lane / 8, lane % 8); a tile has ROWS rows
// (thread: ty + 16 i, i < RM) against 32 columns (thread: 4 tx .. 4 tx + 3). Operands pass through workgroup memory as
// slices 32 floats wide, a row being 8 vec4s and one more, so that rows start in different banks.
//
// The importing kernel declares what lib/attention_rows asks for. The host guarantees D <= 32 SLICES.
#import lib/attention_rows

const RM: u32 = 4u; // rows a thread
const SLICES: u32 = 4u;

const ROWS: u32 = 16u * RM;
const PITCH: u32 = 9u;

alias Acc = array<vec4<f32>, RM>;
#if BACK

// exp(score - log_sum), 0 where not `seen`.
fn probability(score: vec4<f32>, log_sum: vec4<f32>, seen: vec4<bool>) -> vec4<f32> {
    let log_p = clamp(score - log_sum, vec4<f32>(-100.0), vec4<f32>(1.0));
    return select(vec4<f32>(), exp(log_p), seen);
}

// The gradient of scores, dp those of their probabilities. Where a key has all of its row's weight it is 0, and dp and
// its mean are only nearly the same.
fn through_softmax(p: vec4<f32>, grad_p: vec4<f32>, mean: vec4<f32>) -> vec4<f32> {
    return select(p * (grad_p - mean), vec4<f32>(), p >= vec4<f32>(1.0));
}
#endif

var<workgroup> left: array<vec4<f32>, ROWS * PITCH>;
var<workgroup> right: array<vec4<f32>, 32u * PITCH>;

var<private> ty: u32;
var<private> tx: u32;

fn place(head: u32, lane: u32) {
    place_head(head);
    ty = lane / 8u;
    tx = lane % 8u;
}

// Steps of the thread's columns in a tile whose columns begin at step t.
fn across(t: u32) -> vec4<u32> {
    return vec4<u32>(t + 4u * tx) + vec4<u32>(0u, 1u, 2u, 3u);
}

// Place of row r in `right` for multiply_rows: there, threads then read neighbouring places.
fn spread(r: u32) -> u32 {
    return (r & 3u) * 8u + (r >> 2u);
}

// acc += a b^T: the tile's rows of operand a from step `at_a` on, 32 rows of b from `at_b` on.
fn multiply_rows(acc: ptr<function, Acc>, a: u32, at_a: u32, b: u32, at_b: u32) {
    for (var s = 0u; s < SLICES; s++) {
        workgroupBarrier();
#for i in 0..RM
        left[(ty + {16 * i}u) * PITCH + tx] = load(a, at_a + ty + {16 * i}u, 8u * s + tx);
#end
        right[spread(ty) * PITCH + tx] = load(b, at_b + ty, 8u * s + tx);
        right[spread(ty + 16u) * PITCH + tx] = load(b, at_b + ty + 16u, 8u * s + tx);
        workgroupBarrier();
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
}

// acc += left b, `left` 32 wide: slice s of 32 rows of operand b from step `at_b` on. `right` must be free.
fn multiply_columns(acc: ptr<function, Acc>, b: u32, at_b: u32, s: u32) {
    right[ty * PITCH + tx] = load(b, at_b + ty, 8u * s + tx);
    right[(ty + 16u) * PITCH + tx] = load(b, at_b + ty + 16u, 8u * s + tx);
    workgroupBarrier();
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

// Sums over tx of one value a row, in every thread of the row.
fn row_totals(part: array<f32, RM>) -> array<f32, RM> {
    workgroupBarrier();
#for i in 0..RM
    left[(ty + {16 * i}u) * PITCH + tx] = vec4<f32>(part[{i}]);
#end
    workgroupBarrier();
    var total: array<f32, RM>;
#for i in 0..RM
    for (var j = 0u; j < 8u; j++) {
        total[{i}] += left[(ty + {16 * i}u) * PITCH + j].x;
    }
#end
    return total;
}
