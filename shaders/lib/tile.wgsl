// Products of matrices by tiles of C x 64 on a workgroup of 4 C invocations (C: a multiple of 16, at most 64).
// Invocation (y, x), x < 16, holds rows 4 y .. 4 y + 3 and columns 4 x .. 4 x + 3 of the tile. Operands pass through
// workgroup memory 16 of the inner dimension at a time; the next slice is loaded to registers while one is
// multiplied.
//
// The importing kernel defines `fn element(operand: u32, i: u32, j: u32) -> f32`: row i, column j of one of its
// operands (its own numbers, constants at every call, so that the compiler keeps one branch), 0 outside of it.
const C: u32 = 64;
const THREADS: u32 = C * 4; // exactly one vec4 of A a thread and slice
const A_WIDTH: u32 = C / 4 + 1; // vec4s of a row of A in workgroup memory, one of them padding
const B_START: u32 = 16 * (C / 4 + 1);
const POOL: u32 = 16 * (C / 4 + 1) + 272;
const USED: u32 = 64; // rows of a tile that are wanted: products leave the others as they are

// A slice of A at 0, transposed: [16][C + 4]; a slice of B at B_START: [16][64 + 4]. Between products: free.
var<workgroup> pool: array<vec4<f32>, POOL>;

var<private> y: u32;
var<private> x: u32;

// Four rows of four columns.
struct Tile { r0: vec4<f32>, r1: vec4<f32>, r2: vec4<f32>, r3: vec4<f32> }

fn tile_lanes(lane: u32) {
    y = lane / 16u;
    x = lane % 16u;
}

fn zero_tile() -> Tile {
    return Tile(vec4(0.0), vec4(0.0), vec4(0.0), vec4(0.0));
}

// Four columns of a row of an operand.
fn elements(operand: u32, i: u32, j: u32) -> vec4<f32> {
    return vec4(
        element(operand, i, j),
        element(operand, i, j + 1u),
        element(operand, i, j + 2u),
        element(operand, i, j + 3u),
    );
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
        return elements(a, k0 + lane / (C / 4u), m0 + lane % (C / 4u) * 4u);
    }
    return column(a, m0 + 4u * y, k0 + x);
}

fn store_a(at: bool, value: vec4<f32>) {
    if at {
        let lane = y * 16u + x;
        pool[lane / (C / 4u) * A_WIDTH + lane % (C / 4u)] = value;
    } else {
        pool[x * A_WIDTH + y] = value;
    }
}

// Part `part` of a slice of B: rows k0 .., columns n0 ..; where `bt`, the operand is the transpose of B.
fn load_b(b: u32, bt: bool, part: u32, k0: u32, n0: u32) -> vec4<f32> {
    let slot = part * (C / 4u) + y;
    if bt {
        return column(b, n0 + 4u * slot, k0 + x);
    }
    return elements(b, k0 + slot, n0 + 4u * x);
}

fn store_b(bt: bool, part: u32, value: vec4<f32>) {
    let slot = part * (C / 4u) + y;
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
#for part in 0..64/C
    var next_b{part}: vec4<f32>;
#end
    // A step loads one slice and multiplies the one before it.
    for (var k0 = 0u; k0 < len + 16u; k0 += 16u) {
        if k0 < len {
            next_a = load_a(a, at, m0, k0);
#for part in 0..64/C
            next_b{part} = load_b(b, bt, {part}u, k0, n0);
#end
        }
#if USED < C
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
#for part in 0..64/C
            store_b(bt, {part}u, next_b{part});
#end
        }
        workgroupBarrier();
    }
    return t;
}

// Row sums of a tile whose rows sum to `part` in this invocation's columns: row i's in invocation i < C.
fn row_sums(part: vec4<f32>, lane: u32) -> f32 {
    pool[lane] = part;
    workgroupBarrier();
    var sum = 0.0;
    if lane < C {
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
