// What the kernels of matrix products share: C[m, n] = A[m, k] B[k, n] (+ bias) (+ C), matrices row-major as stored.
// A quad is four neighbours of a row. Loads outside a matrix give zeros, stores outside do nothing. Along an edge at least a
// tile long no load needs a guard: the last tile begins earlier, and what it shares with its neighbour that one stores.
// Likewise the last step along k begins earlier, and A is made zero where an earlier step has been (OVERLAP).
// The importing file declares `Operand`, the type in which operands are fetched.
const TA: bool = false; // A is stored [k, m]
const TB: bool = true; // B is stored [n, k]
const VA: bool = false; // rows of A as stored are a multiple of 4 long, so that a quad is one vec4
const VB: bool = false; // the same for B
const VC: bool = false; // rows of C are a multiple of 4 long
const WIDE_C: bool = false; // .. and longer than its columns: what lies behind them may be anything; last tiles begin at quads
const BIAS: bool = false;
const WITHIN_M: bool = false; // no load leaves its matrix along m
const WITHIN_N: bool = false; // .. along n
const WITHIN_K: bool = false; // .. along k
const WHOLE: bool = false; // m and n are made of whole tiles: no store needs a guard
const ACCUMULATE: bool = false; // C is added to
const CUT: bool = false; // rows of C from `params.rows` on are cut along k: layer z > 0 is of their part z - 1, in `sums`
const OVERLAP: bool = false; // the last step along k begins before the one before it ends
const PADDED: bool = false; // .. and A has zeros there where B, [k, n], has no rows any more: its last one is read again
const PIECES: u32 = 1; // A as stored lies in so many pieces one behind another, each with some columns of all rows: quads
const PIECES_C: u32 = 1; // C, [m, n], lies in so many; it is not added to then
const STRADDLED: bool = false; // pieces of C, or of A with TA, end within tiles, others of A within steps
const ROWS_A: bool = (TA && WITHIN_K) || (!TA && WITHIN_M); // no load leaves A as stored by its row
const COLS_A: bool = (TA && WITHIN_M) || (!TA && WITHIN_K); // .. by its column
const ROWS_B: bool = (TB && WITHIN_N && !WIDE_C) || (!TB && WITHIN_K); // .. B by its row
const COLS_B: bool = (TB && WITHIN_K) || (!TB && WITHIN_N); // .. by its column

alias t_a = f32;
alias t_b = f32;
alias t_c = f32;

struct Params {
    part: vec4<u32>, // four times the same: how much of k a layer (z) of the grid takes
    cut: vec4<u32>, // the same for what is CUT
    ends: array<vec4<u32>, 2>, // columns at which the pieces of A, or of C, end
    m: u32,
    n: u32,
    k: u32,
    a_row: u32, // elements of a row of A as stored, a multiple of 4 with VA: what lies behind its columns is zero
    last_m: u32, // where the last tile begins
    last_n: u32,
    last_k: u32, // where the last step along k begins, with OVERLAP
    rows: u32, // of C that are not CUT
    c_row: u32, // elements of a row of C
}

#if VA
@group(0) @binding(0) var<storage, read_write> a: array<vec4<t_a>>; // [m, k], or [k, m] with TA; rows of a_row
#else
@group(0) @binding(0) var<storage, read_write> a: array<t_a>; // [m, k], or [k, m] with TA
#endif
#if VB
@group(0) @binding(1) var<storage, read_write> b: array<vec4<t_b>>; // [k, n], or [n, k] with TB
#else
@group(0) @binding(1) var<storage, read_write> b: array<t_b>; // [k, n], or [n, k] with TB
#endif
#if VC
@group(0) @binding(2) var<storage, read_write> c: array<vec4<t_c>>; // [z, m, c_row]
#else
@group(0) @binding(2) var<storage, read_write> c: array<t_c>; // [z, m, c_row]
#endif
#if BIAS
@group(0) @binding(3) var<storage, read_write> bias: array<f32>; // [n]
#endif
@group(0) @binding(6) var<uniform> params: Params;
#if CUT
#if VC
@group(0) @binding(7) var<storage, read_write> sums: array<vec4<f32>>; // [z - 1, m - rows, c_row], a piece after the other
#else
@group(0) @binding(7) var<storage, read_write> sums: array<f32>; // [z - 1, m - rows, c_row]
#endif
#endif
#if PIECES > 1 || PIECES_C > 1

// The piece that has a column: its first, and the first behind it.
fn piece_at(column: u32) -> vec2<u32> {
    var piece = vec2<u32>(0u, params.ends[0].x);
#for i in 1..PIECES + PIECES_C - 1
    if column >= piece.y {
        piece = vec2<u32>(piece.y, params.ends[{i / 4}][{i % 4}]);
    }
#end
    return piece;
}
#endif

#if PIECES_C > 1

// The piece of C that has a column of a tile.
fn piece_of(col: u32, own: vec2<u32>) -> vec2<u32> {
#if STRADDLED
    return piece_at(col);
#else
    return piece_at(own.y);
#endif
}
#endif

// Where an element of layer z of C is, `own` being its tile's first.
fn place_in_c(z: u32, row: u32, col: u32, own: vec2<u32>) -> u32 {
#if PIECES_C > 1
    let piece = piece_of(col, own);
    return params.m * piece.x + row * (piece.y - piece.x) + col - piece.x;
#else
    return (z * params.m + row) * params.c_row + col;
#endif
}
#if CUT

// Where an element of a cut row is in `sums`.
fn place_in_sums(z: u32, row: u32, col: u32, own: vec2<u32>) -> u32 {
    let rows = params.m - params.rows;
#if PIECES_C > 1
    let piece = piece_of(col, own);
    let parts = (params.k + params.cut.x - 1u) / params.cut.x;
    return rows * parts * piece.x + ((z - 1u) * rows + row - params.rows) * (piece.y - piece.x) + col - piece.x;
#else
    return ((z - 1u) * rows + row - params.rows) * params.c_row + col;
#endif
}
#endif

const QUAD: vec4<u32> = vec4<u32>(0u, 1u, 2u, 3u);

// Where the step along k begins that adds what lies from `fresh` on.
fn step_at(fresh: u32) -> u32 {
#if OVERLAP
    return min(fresh, params.last_k);
#else
    return fresh;
#endif
}

// The quad of A as stored at (row, col).
fn load_a(row: u32, col: u32) -> vec4<Operand> {
#if TA
    let rows = params.k;
    let cols = params.m;
#else
    let rows = params.m;
    let cols = params.k;
#endif
#if VA
    let inside = (ROWS_A | (row < rows)) & (COLS_A | (col < cols));
    let x = vec4<Operand>(a[select(0u, (row * params.a_row + col) / 4u, inside)]);
#else
    let inside = vec4<bool>(ROWS_A | (row < rows)) & (vec4<bool>(COLS_A) | (vec4<u32>(col) + QUAD < vec4<u32>(cols)));
    let at = select(vec4<u32>(0u), vec4<u32>(row * params.a_row + col) + QUAD, inside);
    let x = vec4<Operand>(Operand(a[at.x]), Operand(a[at.y]), Operand(a[at.z]), Operand(a[at.w]));
#endif
    return select(vec4<Operand>(), x, inside);
}

#if OVERLAP
// What a thread loaded of A for the step at k, with zeros where an earlier step has been: before `fresh`.
fn zeroed_a(x: vec4<Operand>, k: u32, row: u32, quad: u32, fresh: u32) -> vec4<Operand> {
#if TA
    return select(vec4<Operand>(), x, k + row >= fresh);
#else
    return select(vec4<Operand>(), x, vec4<u32>(k + quad * 4u) + QUAD >= vec4<u32>(fresh));
#endif
}
#endif

// The quad of B as stored at (row, col).
fn load_b(row: u32, col: u32) -> vec4<Operand> {
#if TB
    let rows = params.n;
    let cols = params.k;
#else
    let rows = params.k;
    let cols = params.n;
#endif
#if VB
    let inside = (ROWS_B | (row < rows)) & (COLS_B | (col < cols));
    let x = vec4<Operand>(b[select(0u, (row * cols + col) / 4u, inside)]);
#else
    let inside = vec4<bool>(ROWS_B | (row < rows)) & (vec4<bool>(COLS_B) | (vec4<u32>(col) + QUAD < vec4<u32>(cols)));
    let at = select(vec4<u32>(0u), vec4<u32>(row * cols + col) + QUAD, inside);
    let x = vec4<Operand>(Operand(b[at.x]), Operand(b[at.y]), Operand(b[at.z]), Operand(b[at.w]));
#endif
    return select(vec4<Operand>(), x, inside);
}

// What is in C's quad at (row, col), to be added to: to be asked for before it is needed. Zeros where there is nothing.
fn old_c(row: u32, col: u32) -> vec4<t_c> {
    var old = vec4<t_c>();
#if ACCUMULATE && VC
    if WHOLE || (row < params.m && col < params.n) {
        old = c[(row * params.c_row + col) / 4u];
    }
#endif
    return old;
}

// The quad of C at (row, col) of layer z: bias (once, in the first layer) and what was there before added as wanted. What lies
// before `own` is a neighbour's.
#if VC
fn store_c(z: u32, row: u32, col: u32, own: vec2<u32>, product: vec4<f32>, old: vec4<t_c>) {
#if !WHOLE
    if row < own.x || row >= params.m || col < own.y || col >= params.n {
        return;
    }
#endif
    var x = product;
#if BIAS
    if z <= {CUT}u {
        let at_bias = min(vec4<u32>(col) + QUAD, vec4<u32>(params.n - 1u));
        x += vec4<f32>(bias[at_bias.x], bias[at_bias.y], bias[at_bias.z], bias[at_bias.w]);
    }
#endif
#if CUT
    if z > 0u {
        sums[place_in_sums(z, row, col, own) / 4u] = x;
        return;
    }
#endif
#if ACCUMULATE
    x += vec4<f32>(old);
#endif
    c[place_in_c(z, row, col, own) / 4u] = vec4<t_c>(x);
}
#else
fn store_c(z: u32, row: u32, col: u32, own: vec2<u32>, product: vec4<f32>, old: vec4<t_c>) {
#for e in 0..4
    store_element(z, row, col + {e}u, own, product[{e}]);
#end
}

// The same for one element.
fn store_element(z: u32, row: u32, col: u32, own: vec2<u32>, product: f32) {
    if row < own.x || row >= params.m || col < own.y || col >= params.n {
        return;
    }
    let at = place_in_c(z, row, col, own);
    var x = product;
#if BIAS
    if z <= {CUT}u {
        x += bias[col];
    }
#endif
#if CUT
    if z > 0u {
        sums[place_in_sums(z, row, col, own)] = x;
        return;
    }
#endif
#if ACCUMULATE
    x += f32(c[at]);
#endif
    c[at] = t_c(x);
}
#endif
