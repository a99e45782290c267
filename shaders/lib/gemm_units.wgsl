// What the products on matrix units share beside lib/gemm: tiles of 128 rows and TN columns, k in steps of 32, and how 16 x 16
// results leave. The importing kernel has THREADS and declares `staged`, vec4<f32> in workgroup memory.
const TN: u32 = 128; // columns of a tile
#import lib/gemm
const RUNNING: bool = VA && VB && WITHIN_M && WITHIN_N && WITHIN_K; // addresses advance

// Tiles lie as the matrices are stored, rows along k or along the edge, padded by 8 f16. In vec4: quads of a row, row length,
// all; rows that one pass of the threads fills, and such passes.
#if TA
const A_QUADS: u32 = 32;
const A_ROW: u32 = 34;
const A_SIZE: u32 = 1088;
#else
const A_QUADS: u32 = 8;
const A_ROW: u32 = 10;
const A_SIZE: u32 = 1280;
#endif
#if TB
const B_QUADS: u32 = 8;
const B_ROW: u32 = 10;
const B_SIZE: u32 = TN * 10;
#else
const B_QUADS: u32 = TN / 4;
const B_ROW: u32 = TN / 4 + 2;
const B_SIZE: u32 = 32 * (TN / 4 + 2);
#endif
const A_PASS: u32 = THREADS / A_QUADS;
const B_PASS: u32 = THREADS / B_QUADS;
const A_PASSES: u32 = 1024 / THREADS;
const B_PASSES: u32 = TN * 8 / THREADS;

// What a workgroup computes: the tile from `own` on of a layer, along k from `start` on.
struct Place { own: vec2<u32>, layer: u32, start: u32 }

fn place_of(wg: vec3<u32>) -> Place {
#if CUT
    let across = (params.n + {TN - 1}u) / TN;
    let whole = params.rows / 128u * across;
    let cut = (params.m + 127u) / 128u * across - whole;
    if wg.x >= whole {
        let tile = whole + (wg.x - whole) % cut;
        let part = (wg.x - whole) / cut;
        return Place(vec2<u32>(tile / across * 128u, tile % across * TN), part + 1u, part * params.cut.x);
    }
    return Place(vec2<u32>(wg.x / across * 128u, wg.x % across * TN), 0u, 0u);
#else
    return Place(vec2<u32>(wg.y * 128u, wg.x * TN), wg.z, wg.z * params.part.x);
#endif
}

// Where its part of k ends. Read anew in step t, from a place that changes: a driver that knew the number of steps would unroll
// the loop, take five times as long to compile it, and spill.
fn end_of(place: Place, t: u32) -> u32 {
    var length = params.part[t % 4u];
#if CUT
    length = select(length, params.cut[t % 4u], place.layer > 0u);
#endif
    return min(place.start + length, params.k);
}

fn fetch_a(edge: u32, k: u32, row: u32, quad: u32) -> vec4<Operand> {
#if TA
    return load_a(k + row, edge + quad * 4u);
#else
    return load_a(edge + row, k + quad * 4u);
#endif
}

fn fetch_b(edge: u32, k: u32, row: u32, quad: u32) -> vec4<Operand> {
#if TB
    return load_b(edge + row, k + quad * 4u);
#else
    return load_b(k + row, edge + quad * 4u);
#endif
}
#if RUNNING

// A column that is in the piece of A from which a thread reads the step at `fresh` or, with TA, the tile from `edge` on: of whole
// steps and tiles there is one for all threads. What comes before `fresh` is made zero.
fn column_a(edge: u32, fresh: u32, quad: u32) -> u32 {
#if TA
    return edge + {STRADDLED * 4}u * quad;
#else
#if STRADDLED
    return max(step_at(fresh) + 4u * quad, fresh);
#else
    return fresh;
#endif
#endif
}

// Quads from row to row as stored, of A in the piece that has a column ..
fn stride_a(column: u32) -> u32 {
#if PIECES > 1
    let piece = piece_at(column);
    return (piece.y - piece.x) / 4u;
#else
    return params.a_row / 4u;
#endif
}

fn stride_b() -> u32 {
#if TB
    return params.k / 4u;
#else
    return params.n / 4u;
#endif
}

// .. for `by` of k.
fn along_a(by: u32, stride: u32) -> u32 {
#if TA
    return by * stride;
#else
    return by / 4u;
#endif
}

fn along_b(by: u32) -> u32 {
#if TB
    return by / 4u;
#else
    return by * stride_b();
#endif
}

// .. and where a thread's first one is, of A for what lies from `fresh` on.
fn first_a(edge: u32, fresh: u32, row: u32, quad: u32) -> u32 {
    let k = step_at(fresh);
#if TA
#if PIECES > 1
    let column = column_a(edge, fresh, quad);
    let first = piece_at(column).x;
    return params.k * (first / 4u) + (k + row) * stride_a(column) + (edge + quad * 4u - first) / 4u;
#else
    return (k + row) * stride_a(edge) + edge / 4u + quad;
#endif
#else
#if PIECES > 1
    let column = column_a(edge, fresh, quad);
    let first = piece_at(column).x;
    let within = (max(k + quad * 4u, fresh) - first) / 4u;
    return params.m * (first / 4u) + (edge + row) * stride_a(column) + within;
#else
    return (edge + row) * stride_a(k) + k / 4u + quad;
#endif
#endif
}

fn first_b(edge: u32, k: u32, row: u32, quad: u32) -> u32 {
#if TB
    return (edge + row) * stride_b() + k / 4u + quad;
#else
    return (k + row) * stride_b() + edge / 4u + quad;
#endif
}

// Quads of B from a thread's first one to the same of the last row, which stands for those behind it.
fn rows_left(edge: u32, row: u32) -> u32 {
    return (params.n - 1u - edge - row) * stride_b();
}

// The quad of B at `at` and `more`, or that of the last row.
fn running_b(at: u32, more: u32, left: u32, edge: u32, quad: u32) -> vec4<Operand> {
#if PADDED
    return vec4<Operand>(b[min(at + more, (params.k - 1u) * stride_b() + edge / 4u + quad)]);
#else
#if WIDE_C && TB
    return vec4<Operand>(b[at + min(more, left)]);
#else
    return vec4<Operand>(b[at + more]);
#endif
#endif
}
#endif

// The row of a tile that a thread fills. Rows of 64 bytes: r and r + 4 side by side, so that no two threads of a
// store meet in a bank.
fn tile_row(lane: u32, quads: u32) -> u32 {
    let row = lane / quads;
    if quads == 8u {
        return (row & 0xfffffff8u) | ((row & 1u) << 2u) | ((row >> 1u) & 3u);
    }
    return row;
}

// Two quads of a lane.
struct Old { x: vec4<t_c>, y: vec4<t_c> }

// What is in C where a lane stores quads of the 16 x 16 block at (row, col).
fn old_block(row: u32, col: u32, lane: u32) -> Old {
    let first = row + lane / 4u;
    let quad = col + lane % 4u * 4u;
    return Old(old_c(first, quad), old_c(first + 8u, quad));
}

// 16 x 16 results times two factors, from `staged` on to (row, col) of layer z, by 32 lanes.
fn store_block(z: u32, row: u32, col: u32, own: vec2<u32>, first: u32, lane: u32, factor: f32, rest: f32, old: Old) {
#if VC
    let quad = col + lane % 4u * 4u;
    store_c(z, row + lane / 4u, quad, own, staged[first + lane] * factor * rest, old.x);
    store_c(z, row + 8u + lane / 4u, quad, own, staged[first + 32u + lane] * factor * rest, old.y);
#else
    // Neighbours side by side: rows need not begin at quads. A loop that drivers do not unroll, 16 blocks being enough to compile:
    // every part of k is longer than 16, which they do not know.
    for (var i = lane / 16u; i < min(params.part[i % 4u], 16u); i += 2u) {
        let x = staged[first + i * 4u + lane % 16u / 4u][lane % 4u] * factor * rest;
        store_element(z, row + i, col + lane % 16u, own, x);
    }
#endif
}
