// Rows of a matrix on a workgroup of 256 threads: LANES threads a row, PER columns or, WIDE, quads of columns a thread
// (lane, lane + LANES, ..), 256 / LANES rows side by side. Host: `ops::rows::Layout`.
#import lib/wide

const LANES: u32 = 32;
const PER: u32 = 1;
const ROWS_AT_ONCE: u32 = 256 / LANES;

var<workgroup> row_buffer: array<vec2<f32>, 256>;

// Sum over the threads of the caller's row. For all threads of the workgroup together.
fn row_sum(v: vec2<f32>, thread: u32) -> vec2<f32> {
    row_buffer[thread] = v;
    workgroupBarrier();
    for (var span = LANES / 2u; span > 0u; span /= 2u) {
        if thread % LANES < span {
            row_buffer[thread] += row_buffer[thread + span];
        }
        workgroupBarrier();
    }
    let sum = row_buffer[thread - thread % LANES];
    workgroupBarrier();
    return sum;
}

// Sum over the rows side by side, of the caller's lane, for the threads of the first row; nothing for the others, who would
// take the memory's time. For all threads of the workgroup together.
fn lane_sum(v: vec2<f32>, thread: u32) -> vec2<f32> {
    row_buffer[thread] = v;
    workgroupBarrier();
    var sum = v;
    if thread < LANES {
        for (var row = 1u; row < ROWS_AT_ONCE; row++) {
            sum += row_buffer[row * LANES + thread];
        }
    }
    workgroupBarrier();
    return sum;
}

// The same of the caller's columns.
fn column_sums(v: Lanes, thread: u32) -> Lanes {
#if WIDE
    let low = lane_sum(v.xy, thread);
    let high = lane_sum(v.zw, thread);
    return vec4(low, high);
#else
    return lane_sum(vec2(v, 0.0), thread).x;
#endif
}
