// Products of matrices by tiles of C x 64 on a workgroup of 4 C invocations (C: a multiple of 16, at most 64).
// Invocation (y, x), x < 16, holds rows 4 y .. 4 y + 3 and columns 4 x .. 4 x + 3 of the tile. Operands pass through
// workgroup memory a slice of the inner dimension at a time; the next slice is loaded to registers while one is
// multiplied.
//
// The importing kernel defines `fn element(operand: u32, i: u32, j: u32) -> Value`: row i, column j (and, WIDE, the three
// after it) of one of its operands (its own numbers, constants at every call, so that the compiler keeps one branch), 0
// outside of it.
#import lib/value

const CHUNK: u32 = 64;
const THREADS: u32 = CHUNK * 4; // exactly one vec4 of A a thread and slice
const USED: u32 = 64; // rows of a tile that are wanted: products leave the others as they are
const SPLIT: bool = true; // COOP: operands are pairs of f16, at f32 accuracy; else single ones, in mixed precision
const TRIANGLE: bool = true; // whether the kernel forms a triangle in the pool
const DEPTH: u32 = 16; // COOP: inner dimension of a slice; above 16 there is no room for a triangle
const INNER: u32 = {DEPTH * (2 - SPLIT)}; // the same where there are no low halves
#if COOP && !TRIANGLE
const TURNS: u32 = 2; // in which the subgroups store their accumulators
const POOL: u32 = THREADS;
#else
const TURNS: u32 = 1;
const A_WIDTH: u32 = CHUNK / 4 + 1; // vec4s of a row of A in workgroup memory, one of them padding
const B_START: u32 = 16 * (CHUNK / 4 + 1);
const POOL: u32 = 16 * (CHUNK / 4 + 1) + 272;
#endif

// A slice of A at 0, transposed: [16][C + 4]; a slice of B at B_START: [16][64 + 4]. Between products: free.
var<workgroup> pool: array<vec4<f32>, POOL>;

var<private> y: u32;
var<private> x: u32;

// Four rows of four columns.
struct Tile { r0: vec4<f32>, r1: vec4<f32>, r2: vec4<f32>, r3: vec4<f32> }

fn zero_tile() -> Tile {
    return Tile(vec4(0.0), vec4(0.0), vec4(0.0), vec4(0.0));
}

// Four columns of a row of an operand.
fn elements(operand: u32, i: u32, j: u32) -> vec4<f32> {
#if WIDE
    return element(operand, i, j);
#else
    return vec4(
        element(operand, i, j),
        element(operand, i, j + 1u),
        element(operand, i, j + 2u),
        element(operand, i, j + 3u),
    );
#endif
}

#if COOP
#import lib/split

alias FragA = coop_mat16x16<f16, A>;
alias FragB = coop_mat16x16<f16, B>;
alias FragC = coop_mat16x16<f32, C>;

// C is 64 here. A slice of the operands lies in eight strips, a subgroup's each: four of 16 rows of A, then four of 16 columns
// of B. A strip is blocks of 16 x 16, one for each 16 of the inner dimension, their rows as they are stored. A row is 4
// quads of f16, SPLIT: the high halves, the low ones and room for 2 quads, so that eight rows lie in different banks; that of
// a strip's last row is the next strip's.
const LINE: u32 = {4 + SPLIT * 6};
const STRIP: u32 = {INNER * LINE - SPLIT * 2};
var<workgroup> strips: array<vec4<f16>, {8 * STRIP}>;
var<workgroup> unscales: array<f32, 8>; // what undoes a strip's scale

var<private> thread: u32;
// What the subgroup loads of the next slice.
#for i in 0..INNER/8
var<private> next{i}: vec4<f32>;
#end

// A subgroup of 32 holds 16 rows and 32 columns of a tile: two accumulators.
fn tile_lanes(lane: u32) {
    thread = lane;
    y = lane / 64u * 4u + lane % 32u / 8u;
    x = lane / 32u % 2u * 8u + lane % 8u;
}

// Quad i of a lane in a strip of an operand whose rows run along the inner dimension (`along`), or across it; 0 from `len` of
// it on, where an operand may hold anything, which the other's zeros would not undo: NaN times 0 is NaN, and a strip's
// scale is its largest.
fn load_quad(operand: u32, along: bool, outer: u32, k0: u32, i: u32, len: u32) -> vec4<f32> {
    let lane = thread % 32u;
    var value: vec4<f32>;
    if along {
        let k = k0 + lane % {INNER / 4}u * 4u;
        value = elements(operand, outer + i * {128 / INNER}u + lane / {INNER / 4}u, k);
        if k0 + INNER > len {
            value = select(vec4(0.0), value, vec4(k) + vec4(0u, 1u, 2u, 3u) < vec4(len));
        }
    } else {
        let k = k0 + i * 8u + lane / 4u;
        value = elements(operand, k, outer + lane % 4u * 4u);
        if k0 + INNER > len {
            value = select(vec4(0.0), value, k < len);
        }
    }
    return value;
}

// Where it is in the strip.
fn quad_place(along: bool, i: u32) -> u32 {
    let lane = thread % 32u;
    if along {
        return lane % {INNER / 4}u / 4u * {16 * LINE}u + (i * {128 / INNER}u + lane / {INNER / 4}u) * LINE + lane % 4u;
    }
    return (i * 8u + lane / 4u) * LINE + lane % 4u;
}

fn load_strip(operand: u32, along: bool, outer: u32, k0: u32, len: u32) {
#for i in 0..INNER/8
    next{i} = load_quad(operand, along, outer, k0, {i}u, len);
#end
}

// Loads the subgroup's strip of the slice from k0 on.
fn load_slice(a: u32, at: bool, m0: u32, b: u32, bt: bool, n0: u32, k0: u32, len: u32) {
    let strip = thread / 32u;
    if strip < 4u {
        load_strip(a, !at, m0 + 16u * strip, k0, len);
    } else {
        load_strip(b, bt, n0 + 16u * (strip - 4u), k0, len);
    }
}

fn largest(x: vec4<f32>) -> f32 {
    let m = abs(x);
    return max(max(m.x, m.y), max(m.z, m.w));
}

// sum + A B: rows m0 .. of A, columns n0 .. of B, inner dimension 0 .. len. All invocations call it.
#copied
fn product(sum: Tile, a: u32, at: bool, m0: u32, b: u32, bt: bool, n0: u32, len: u32) -> Tile {
    return products(sum, m0, n0, a, at, b, bt, len, a, at, b, bt, 0u);
}

// sum + A B + C D, the two behind one another. Strips have a scale each, so that operands may be of any size, and slices
// fresh accumulators, since the matrix unit truncates its sums.
#copied
fn products(
    sum: Tile, m0: u32, n0: u32, a: u32, at: bool, b: u32, bt: bool, len: u32, c: u32, ct: bool, d: u32, dt: bool, more: u32,
) -> Tile {
    var t = sum;
    let subgroup = thread / 32u;
    let middle = (len + {INNER - 1}u) / INNER * INNER;
    if middle > 0u {
        load_slice(a, at, m0, b, bt, n0, 0u, len);
    } else if more > 0u {
        load_slice(c, ct, m0, d, dt, n0, 0u, more);
    }
    var acc0 = FragC();
    var acc1 = FragC();
    for (var k0 = 0u; k0 < middle + more; k0 += INNER) {
        var top = 0.0;
#for i in 0..INNER/8
        top = max(top, largest(next{i}));
#end
        let e = scale_exponent(subgroupMax(bitcast<u32>(top)));
        let scale = power_of_two(e);
#for i in 0..INNER/8
        let value{i} = next{i} * scale;
#if SPLIT
        let rounded{i} = high(value{i});
        let high{i} = vec4<f16>(rounded{i});
        let low{i} = vec4<f16>(value{i} - rounded{i});
#else
        let high{i} = vec4<f16>(value{i});
#endif
#end
        let left_turned = u32(select(ct, at, k0 < middle));
        let right_turned = u32(select(dt, bt, k0 < middle));
        workgroupBarrier();
        let along = select(right_turned == 1u, left_turned == 0u, subgroup < 4u);
#for i in 0..INNER/8
        {
            let place = subgroup * STRIP + quad_place(along, {i}u);
            strips[place] = high{i};
#if SPLIT
            strips[place + 4u] = low{i};
#endif
        }
#end
        if thread % 32u == 0u {
            unscales[subgroup] = power_of_two(-e);
        }
        workgroupBarrier();
        if k0 + INNER < middle {
            load_slice(a, at, m0, b, bt, n0, k0 + INNER, len);
        } else if k0 + INNER < middle + more {
            load_slice(c, ct, m0, d, dt, n0, k0 + INNER - middle, more);
        }
        let left = subgroup / 2u * STRIP;
        let right = (4u + subgroup % 2u * 2u) * STRIP;
        for (var once = subgroup / 2u * 16u; once < USED; once = USED) {
            // Loops, since naga takes no argument for uniform at an `if` around these.
#for s in 0..INNER/16
            var ah{s} = FragA();
#if SPLIT
            var al{s} = FragA();
#endif
            for (var yes = left_turned; yes > 0u; yes = 0u) {
                ah{s} = coopLoad<FragA>(&strips[left + {16 * s * LINE}u], LINE);
#if SPLIT
                al{s} = coopLoad<FragA>(&strips[left + {16 * s * LINE + 4}u], LINE);
#endif
            }
            for (var yes = 1u - left_turned; yes > 0u; yes = 0u) {
                ah{s} = coopLoadT<FragA>(&strips[left + {16 * s * LINE}u], LINE);
#if SPLIT
                al{s} = coopLoadT<FragA>(&strips[left + {16 * s * LINE + 4}u], LINE);
#endif
            }
#end
#for j in 0..2
            {
                var slice = FragC();
#for s in 0..INNER/16
                var bh{s} = FragB();
#if SPLIT
                var bl{s} = FragB();
#endif
                for (var yes = right_turned; yes > 0u; yes = 0u) {
                    bh{s} = coopLoad<FragB>(&strips[right + {j * STRIP + 16 * s * LINE}u], LINE);
#if SPLIT
                    bl{s} = coopLoad<FragB>(&strips[right + {j * STRIP + 16 * s * LINE + 4}u], LINE);
#endif
                }
                for (var yes = 1u - right_turned; yes > 0u; yes = 0u) {
                    bh{s} = coopLoadT<FragB>(&strips[right + {j * STRIP + 16 * s * LINE}u], LINE);
#if SPLIT
                    bl{s} = coopLoadT<FragB>(&strips[right + {j * STRIP + 16 * s * LINE + 4}u], LINE);
#endif
                }
#if SPLIT
                // The small ones first.
                slice = coopMultiplyAdd(al{s}, bh{s}, slice);
                slice = coopMultiplyAdd(ah{s}, bl{s}, slice);
#endif
#end
#for s in 0..INNER/16
                slice = coopMultiplyAdd(ah{s}, bh{s}, slice);
#end
                let unscale = unscales[subgroup / 2u] * unscales[4u + subgroup % 2u * 2u + {j}u];
                acc{j} = acc{j} + slice * min(unscale, 0x1p+127f);
            }
#end
        }
    }
    // By turns where there is no room for all subgroups. Barriers of the workgroup: those of a subgroup do not order workgroup
    // memory.
    let mine = subgroup / TURNS * 64u;
#for j in 0..2
#for turn in 0..TURNS
    for (var once = subgroup % TURNS; once == {turn}u; once = TURNS) {
        coopStoreT(acc{j}, &pool[mine], 4u);
    }
    workgroupBarrier();
    if subgroup % TURNS == {turn}u && x % 8u / 4u == {j}u && 4u * y < USED {
#for r in 0..4
        t.r{r} += pool[mine + (4u * (y % 4u) + {r}u) * 4u + x % 4u];
#end
    }
    workgroupBarrier();
#end
#end
    return t;
}
#else
fn tile_lanes(lane: u32) {
    y = lane / 16u;
    x = lane % 16u;
}

// Four rows of a column of an operand.
fn column(operand: u32, i: u32, j: u32) -> vec4<f32> {
    return vec4(
        element(operand, i, j),
        element(operand, i + 1u, j),
        element(operand, i + 2u, j),
        element(operand, i + 3u, j),
    );
}

// A[m0 + 4 y .., k0 + x] or, where `at`, the operand is the transpose of A.
fn load_a(a: u32, at: bool, m0: u32, k0: u32) -> vec4<f32> {
    if at {
        let lane = y * 16u + x;
        return elements(a, k0 + lane / (CHUNK / 4u), m0 + lane % (CHUNK / 4u) * 4u);
    }
    return column(a, m0 + 4u * y, k0 + x);
}

fn store_a(at: bool, value: vec4<f32>) {
    if at {
        let lane = y * 16u + x;
        pool[lane / (CHUNK / 4u) * A_WIDTH + lane % (CHUNK / 4u)] = value;
    } else {
        pool[x * A_WIDTH + y] = value;
    }
}

// Part `part` of a slice of B: rows k0 .., columns n0 ..; where `bt`, the operand is the transpose of B.
fn load_b(b: u32, bt: bool, part: u32, k0: u32, n0: u32) -> vec4<f32> {
    let slot = part * (CHUNK / 4u) + y;
    if bt {
        return column(b, n0 + 4u * slot, k0 + x);
    }
    return elements(b, k0 + slot, n0 + 4u * x);
}

fn store_b(bt: bool, part: u32, value: vec4<f32>) {
    let slot = part * (CHUNK / 4u) + y;
    if bt {
        pool[B_START + x * 17u + slot] = value;
    } else {
        pool[B_START + slot * 17u + x] = value;
    }
}

// sum + A B: rows m0 .. of A, columns n0 .. of B, inner dimension 0 .. len. All invocations call it.
fn product(sum: Tile, a: u32, at: bool, m0: u32, b: u32, bt: bool, n0: u32, len: u32) -> Tile {
    var t = sum;
    var next_a: vec4<f32>;
#for part in 0..64/CHUNK
    var next_b{part}: vec4<f32>;
#end
    // A step loads one slice and multiplies the one before it.
    for (var k0 = 0u; k0 < len + 16u; k0 += 16u) {
        if k0 < len {
            next_a = load_a(a, at, m0, k0);
#for part in 0..64/CHUNK
            next_b{part} = load_b(b, bt, {part}u, k0, n0);
#end
        }
#if USED < CHUNK
        if k0 > 0u && 4u * y < USED {
#else
        if k0 > 0u {
#endif
            // A sum a slice, then a sum of those: rounding grows with the root of 16 terms and of the slices, not of all.
            var slice = zero_tile();
            let depth = min(len + 16u - k0, 16u);
            for (var k = 0u; k < depth; k++) {
                let left = pool[k * A_WIDTH + y];
                let right = pool[B_START + k * 17u + x];
                slice.r0 = fma(vec4(left.x), right, slice.r0);
                slice.r1 = fma(vec4(left.y), right, slice.r1);
                slice.r2 = fma(vec4(left.z), right, slice.r2);
                slice.r3 = fma(vec4(left.w), right, slice.r3);
            }
            t.r0 += slice.r0;
            t.r1 += slice.r1;
            t.r2 += slice.r2;
            t.r3 += slice.r3;
        }
        workgroupBarrier();
        if k0 < len {
            store_a(at, next_a);
#for part in 0..64/CHUNK
            store_b(bt, {part}u, next_b{part});
#end
        }
        workgroupBarrier();
    }
    return t;
}

// sum + A B + C D.
fn products(
    sum: Tile, m0: u32, n0: u32, a: u32, at: bool, b: u32, bt: bool, len: u32, c: u32, ct: bool, d: u32, dt: bool, more: u32,
) -> Tile {
    let t = product(sum, a, at, m0, b, bt, n0, len);
    return product(t, c, ct, m0, d, dt, n0, more);
}
#endif

// Row sums of a tile whose rows sum to `part` in this invocation's columns: row i's in invocation i < C.
fn row_sums(part: vec4<f32>, lane: u32) -> f32 {
    pool[y * 16u + x] = part;
    workgroupBarrier();
    var sum = 0.0;
    if lane < CHUNK {
        for (var i = 0u; i < 16u; i++) {
            sum += pool[lane / 4u * 16u + i][lane % 4u];
        }
    }
    workgroupBarrier();
    return sum;
}

// The sum of one value an invocation, in every invocation.
fn workgroup_sum(value: f32, lane: u32) -> f32 {
    pool[lane] = vec4(value);
    workgroupBarrier();
    if lane < 16u {
        var sum = 0.0;
        for (var i = lane; i < THREADS; i += 16u) {
            sum += pool[i].x;
        }
        pool[lane] = vec4(sum);
    }
    workgroupBarrier();
    var sum = 0.0;
    for (var i = 0u; i < 16u; i++) {
        sum += pool[i].x;
    }
    workgroupBarrier();
    return sum;
}

// A strictly lower triangular C x C matrix in the pool (which it fills): row i as i / 4 + 1 vec4s. This is where the
// one with columns 4 j4 .. lies.
fn triangle_at(i: u32, j4: u32) -> u32 {
    let blocks = i / 4u + 1u;
    return 2u * (blocks - 1u) * blocks + i % 4u * blocks + j4;
}

fn triangle(i: u32, j: u32) -> f32 {
    return pool[triangle_at(i, j / 4u)][j % 4u];
}

// Puts the rows and columns of a tile on or below the diagonal, those above it as 0.
fn set_triangle(t: Tile) {
    if x <= y {
        let mask = vec4<u32>(4u * x) + vec4(0u, 1u, 2u, 3u);
#for r in 0..4
        pool[triangle_at(4u * y + {r}u, x)] = select(vec4(0.0), t.r{r}, mask < vec4(4u * y + {r}u));
#end
    }
}
