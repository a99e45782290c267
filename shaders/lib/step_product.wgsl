// The product of one time step of a recurrence: 4 QUADS rows (sequences) by 3 LANES columns on 256 threads. A thread has
// four rows by three columns (lane, lane + LANES, lane + 2 LANES), and every SPLITS-th term of their sums: a step has few
// rows, and long sums. Operands pass through workgroup memory DEPTH terms at a time.
//
// The importing kernel defines `fn left(row: u32, k: u32) -> f32` and `fn right(column: u32, k: u32) -> f32`, row and
// column of the tile, 0 outside of the operand.
const QUADS: u32 = 8;
const LANES: u32 = 8;
const DEPTH: u32 = 64;
const BY_COLUMN: bool = false; // `right` has neighbouring columns, not neighbouring k, next to each other
const TILE: u32 = QUADS * LANES;
const SPLITS: u32 = 256 / TILE;
const COLUMNS: u32 = 3 * LANES;
const LEFT_PITCH: u32 = QUADS + 1;
const RIGHT_PITCH: u32 = COLUMNS + 1;
const POOL: u32 = 576; // DEPTH LEFT_PITCH, and at least 384 for the sums over splits

var<workgroup> s_left: array<vec4<f32>, POOL>;
var<workgroup> s_right: array<f32, DEPTH * RIGHT_PITCH>;

// Four rows of three columns.
struct StepTile { c0: vec4<f32>, c1: vec4<f32>, c2: vec4<f32> }

// The sums over `len` terms, in the threads below TILE: row quad thread / LANES, lane thread % LANES. All invocations
// call it.
fn step_product(thread: u32, len: u32) -> StepTile {
    let split = thread / TILE;
    let quad = thread / LANES % QUADS;
    let lane = thread % LANES;
    var t = StepTile(vec4(0.0), vec4(0.0), vec4(0.0));
    for (var k0 = 0u; k0 < len; k0 += DEPTH) {
        workgroupBarrier();
        for (var i = thread; i < DEPTH * QUADS; i += 256u) {
            let k = i % DEPTH;
            let row = 4u * (i / DEPTH);
            s_left[k * LEFT_PITCH + i / DEPTH] = vec4(
                left(row, k0 + k),
                left(row + 1u, k0 + k),
                left(row + 2u, k0 + k),
                left(row + 3u, k0 + k),
            );
        }
        for (var i = thread; i < DEPTH * COLUMNS; i += 256u) {
#if BY_COLUMN
            let k = i / COLUMNS;
            let column = i % COLUMNS;
#else
            let k = i % DEPTH;
            let column = i / DEPTH;
#endif
            s_right[k * RIGHT_PITCH + column] = right(column, k0 + k);
        }
        workgroupBarrier();
        for (var k = split; k < min(DEPTH, len - k0); k += SPLITS) {
            let a = s_left[k * LEFT_PITCH + quad];
            let b = k * RIGHT_PITCH + lane;
            t.c0 = fma(a, vec4(s_right[b]), t.c0);
            t.c1 = fma(a, vec4(s_right[b + LANES]), t.c1);
            t.c2 = fma(a, vec4(s_right[b + 2u * LANES]), t.c2);
        }
    }
    for (var span = SPLITS / 2u; span > 0u; span /= 2u) {
        workgroupBarrier();
        if split >= span && split < 2u * span {
            let at = 3u * (thread - span * TILE);
            s_left[at] = t.c0;
            s_left[at + 1u] = t.c1;
            s_left[at + 2u] = t.c2;
        }
        workgroupBarrier();
        if split < span {
            t.c0 += s_left[3u * thread];
            t.c1 += s_left[3u * thread + 1u];
            t.c2 += s_left[3u * thread + 2u];
        }
    }
    return t;
}
