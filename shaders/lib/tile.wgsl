// Products of matrices by tiles of C x 64 on a workgroup of 4 C invocations (C: a multiple of 16, at most 64).
// Invocation (y, x), x < 16, holds rows 4 y .. 4 y + 3 and columns 4 x .. 4 x + 3 of the tile. Operands pass through
// workgroup memory 16 of the inner dimension at a time; the next slice is loaded to registers while one is
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
const DEPTH: u32 = 16; // COOP: inner dimension of a slice; above 16 there is no room for a triangle
const INNER: u32 = {DEPTH * (1 + (CHUNK == 64) * (1 - SPLIT))}; // the same where there are no low halves
#if COOP && DEPTH > 16
const POOL: u32 = 8 * CHUNK;
#else
#if COOP
const POOL: u32 = 16 * (CHUNK / 4 + 1) + 272;
#else
const A_WIDTH: u32 = CHUNK / 4 + 1; // vec4s of a row of A in workgroup memory, one of them padding
const B_START: u32 = 16 * (CHUNK / 4 + 1);
const POOL: u32 = 16 * (CHUNK / 4 + 1) + 272;
#endif
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

// A slice of each operand, as f16 (SPLIT: pairs): blocks of 16 x 16, the operand's rows as they are stored, for each 16 of the
// inner dimension.
var<workgroup> a_high: array<vec4<f16>, INNER / 16 * THREADS>;
var<workgroup> b_high: array<vec4<f16>, INNER * 16>;
#if SPLIT
var<workgroup> a_low: array<vec4<f16>, INNER / 16 * THREADS>;
var<workgroup> b_low: array<vec4<f16>, INNER * 16>;
#endif

var<private> thread: u32;

// A subgroup of 32 holds 16 rows and 32 columns of a tile: two accumulators.
fn tile_lanes(lane: u32) {
    thread = lane;
    y = lane / 64u * 4u + lane % 32u / 8u;
    x = lane / 32u % 2u * 8u + lane % 8u;
}

// Four neighbours of a row of A or, where `at`, of A's transpose; 0 from `len` of the inner dimension on, where an operand
// may hold anything, which the other's zeros would not undo: NaN times 0 is NaN, and a slice's scale is its largest.
fn load_a(a: u32, at: bool, m0: u32, k0: u32, len: u32) -> vec4<f32> {
    if at {
        let k = k0 + thread / (CHUNK / 4u);
        return select(vec4(0.0), elements(a, k, m0 + thread % (CHUNK / 4u) * 4u), k < len);
    }
    let k = k0 + thread % 4u * 4u;
    return select(vec4(0.0), elements(a, m0 + thread / 4u, k), quad(k) < vec4(len));
}

fn quad(k: u32) -> vec4<u32> {
    return vec4(k, k + 1u, k + 2u, k + 3u);
}

fn place_a(at: bool) -> u32 {
    if at {
        return block_place(thread / (CHUNK / 4u), thread % (CHUNK / 4u));
    }
    return thread;
}

// The same of part `part` of B.
fn load_b(b: u32, bt: bool, part: u32, k0: u32, n0: u32, len: u32) -> vec4<f32> {
    let slot = part * THREADS + thread;
    if bt {
        let k = k0 + slot % 4u * 4u;
        return select(vec4(0.0), elements(b, n0 + slot / 4u, k), quad(k) < vec4(len));
    }
    let k = k0 + slot / 16u;
    return select(vec4(0.0), elements(b, k, n0 + slot % 16u * 4u), k < len);
}

fn place_b(bt: bool, part: u32) -> u32 {
    let slot = part * THREADS + thread;
    if bt {
        return slot;
    }
    return block_place(slot / 16u, slot % 16u);
}

// Place of quad c of row r in blocks side by side.
fn block_place(r: u32, c: u32) -> u32 {
    return c / 4u * 64u + r * 4u + c % 4u;
}

// Bits of the largest magnitude.
fn largest(x: vec4<f32>) -> u32 {
    let m = bitcast<vec4<u32>>(x) & vec4<u32>(0x7fffffffu);
    return max(max(m.x, m.y), max(m.z, m.w));
}

// sum + A B: rows m0 .. of A, columns n0 .. of B, inner dimension 0 .. len. All invocations call it. Slices have a scale
// each, so that operands may be of any size, and fresh accumulators, since the matrix unit truncates its sums.
#copied
fn product(sum: Tile, a: u32, at: bool, m0: u32, b: u32, bt: bool, n0: u32, len: u32) -> Tile {
    var t = sum;
    let subgroup = thread / 32u;
    let rows16 = subgroup / 2u * 64u;
    let columns32 = subgroup % 2u * 128u;
#for s in 0..INNER/16
    var next_a{s} = load_a(a, at, m0, {16 * s}u, len);
#for part in 0..64/CHUNK
    var next_b{s}_{part} = load_b(b, bt, {part}u, {16 * s}u, n0, len);
#end
#end
    var acc0 = FragC();
    var acc1 = FragC();
    workgroupBarrier();
    for (var k0 = 0u; k0 < len; k0 += INNER) {
        var top_a = 0u;
        var top_b = 0u;
#for s in 0..INNER/16
        top_a = max(top_a, largest(next_a{s}));
#for part in 0..64/CHUNK
        top_b = max(top_b, largest(next_b{s}_{part}));
#end
#end
        top_a = subgroupMax(top_a);
        top_b = subgroupMax(top_b);
        if thread % 32u == 0u {
            pool[subgroup] = vec4(bitcast<vec2<f32>>(vec2(top_a, top_b)), 0.0, 0.0);
        }
        workgroupBarrier();
        var top = bitcast<vec2<u32>>(pool[0].xy);
#for i in 1..THREADS/32
        top = max(top, bitcast<vec2<u32>>(pool[{i}].xy));
#end
        let e_a = scale_exponent(top.x);
        let e_b = scale_exponent(top.y);
#for s in 0..INNER/16
        {
            let value = next_a{s} * power_of_two(e_a);
#if SPLIT
            let rounded = high(value);
            a_high[{s} * THREADS + place_a(at)] = vec4<f16>(rounded);
            a_low[{s} * THREADS + place_a(at)] = vec4<f16>(value - rounded);
#else
            a_high[{s} * THREADS + place_a(at)] = vec4<f16>(value);
#endif
        }
#for part in 0..64/CHUNK
        {
            let value = next_b{s}_{part} * power_of_two(e_b);
#if SPLIT
            let rounded = high(value);
            b_high[{256 * s}u + place_b(bt, {part}u)] = vec4<f16>(rounded);
            b_low[{256 * s}u + place_b(bt, {part}u)] = vec4<f16>(value - rounded);
#else
            b_high[{256 * s}u + place_b(bt, {part}u)] = vec4<f16>(value);
#endif
        }
#end
#end
        workgroupBarrier();
        if k0 + INNER < len {
#for s in 0..INNER/16
            next_a{s} = load_a(a, at, m0, k0 + INNER + {16 * s}u, len);
#for part in 0..64/CHUNK
            next_b{s}_{part} = load_b(b, bt, {part}u, k0 + INNER + {16 * s}u, n0, len);
#end
#end
        }
        // 2^-(e_a + e_b); products too small for it are nothing.
        let e = -(e_a + e_b);
        let unscale = select(power_of_two(clamp(e, -126, 127)), 0.0, e < -126);
        for (var once = rows16; once < USED * 4u; once = USED * 4u) {
            // Loops, since naga takes no argument for uniform at an `if` around these; at each call they fold away.
#for s in 0..INNER/16
            var ah{s} = FragA();
#if SPLIT
            var al{s} = FragA();
#endif
            for (var yes = u32(at); yes > 0u; yes = 0u) {
                ah{s} = coopLoad<FragA>(&a_high[{s} * THREADS + rows16], 4u);
#if SPLIT
                al{s} = coopLoad<FragA>(&a_low[{s} * THREADS + rows16], 4u);
#endif
            }
            for (var yes = u32(!at); yes > 0u; yes = 0u) {
                ah{s} = coopLoadT<FragA>(&a_high[{s} * THREADS + rows16], 4u);
#if SPLIT
                al{s} = coopLoadT<FragA>(&a_low[{s} * THREADS + rows16], 4u);
#endif
            }
#end
#for j in 0..2
            {
                var slice = FragC();
#if SPLIT
                var small = FragC();
#endif
#for s in 0..INNER/16
                {
                    var bh = FragB();
#if SPLIT
                    var bl = FragB();
#endif
                    for (var yes = u32(bt); yes > 0u; yes = 0u) {
                        bh = coopLoad<FragB>(&b_high[columns32 + {256 * s + 64 * j}u], 4u);
#if SPLIT
                        bl = coopLoad<FragB>(&b_low[columns32 + {256 * s + 64 * j}u], 4u);
#endif
                    }
                    for (var yes = u32(!bt); yes > 0u; yes = 0u) {
                        bh = coopLoadT<FragB>(&b_high[columns32 + {256 * s + 64 * j}u], 4u);
#if SPLIT
                        bl = coopLoadT<FragB>(&b_low[columns32 + {256 * s + 64 * j}u], 4u);
#endif
                    }
                    slice = coopMultiplyAdd(ah{s}, bh, slice);
#if SPLIT
                    small = coopMultiplyAdd(al{s}, bh, small);
                    small = coopMultiplyAdd(ah{s}, bl, small);
#endif
                }
#end
#if SPLIT
                acc{j} = acc{j} + (slice + small) * unscale;
#else
                acc{j} = acc{j} + slice * unscale;
#endif
            }
#end
        }
    }
    // Barriers of the workgroup: those of a subgroup do not order workgroup memory.
    let mine = subgroup * 64u;
#for j in 0..2
    coopStoreT(acc{j}, &pool[mine], 4u);
    workgroupBarrier();
    if x % 8u / 4u == {j}u && 4u * y < USED {
#for r in 0..4
        t.r{r} += pool[mine + (4u * (y % 4u) + {r}u) * 4u + x % 4u];
#end
    }
    workgroupBarrier();
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
        pool[THREADS + lane] = vec4(sum);
    }
    workgroupBarrier();
    var sum = 0.0;
    for (var i = 0u; i < 16u; i++) {
        sum += pool[THREADS + i].x;
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
