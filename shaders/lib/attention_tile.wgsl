// What the tiled attention kernels share. 128 threads, thread (ty, tx) = (lane / 8, lane % 8); a tile has ROWS rows
// (thread: ty + 16 i, i < RM) against 32 columns (thread: 4 tx .. 4 tx + 3). Operands pass through workgroup memory as
// slices 32 floats wide, a row being 8 vec4s and one more, so that rows start in different banks.
//
// The importing kernel declares `BACK`, whether it reads what the backward pass has, its outputs, the binding `params`, and
// `fn put(operand: u32, i: u32, x: Value)`: place i of one of its outputs, by numbers that are constants at every call, so
// that the compiler keeps one branch. The host guarantees D <= 32 SLICES, and D % 4 == 0 if VEC.
alias t_q = f32;
alias t_k = f32;
alias t_v = f32;
const RM: u32 = 4u; // rows a thread
const SLICES: u32 = 4u;
const VEC: bool = true; // 16-byte loads
const FORGET: bool = false; // log decays between key and query are added to the score

struct Params { t: u32, h: u32, d: u32, heads: u32, tiles: u32, scale: f32 }

const ROWS: u32 = 16u * RM;
const PITCH: u32 = 9u;
const Q: u32 = 0u;
const K: u32 = 1u;
const V: u32 = 2u;
const GRAD_O: u32 = 3u;

#if VEC
alias Value = vec4<f32>;
alias a_q = vec4<t_q>;
alias a_k = vec4<t_k>;
alias a_v = vec4<t_v>;
#else
alias Value = f32;
alias a_q = t_q;
alias a_k = t_k;
alias a_v = t_v;
#endif
alias Acc = array<vec4<f32>, RM>;

@group(0) @binding(0) var<storage, read_write> q: array<a_q>; // [B, T, H, D]
@group(0) @binding(1) var<storage, read_write> k: array<a_k>; // [B, T, H, D]
@group(0) @binding(2) var<storage, read_write> v: array<a_v>; // [B, T, H, D]
#if BACK
alias t_grad_o = f32;
#if VEC
alias a_d_o = vec4<t_grad_o>;
#else
alias a_d_o = t_grad_o;
#endif
@group(0) @binding(3) var<storage, read_write> grad_o: array<a_d_o>; // [B, T, H, D]
#if FORGET
@group(0) @binding(4) var<storage, read_write> stats: array<vec4<i32>>; // [B, T, H], of attention_stats_bwd
#else
@group(0) @binding(4) var<storage, read_write> stats: array<vec2<i32>>; // [B, T, H], of attention_stats_bwd
#endif

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

var<private> first: u32; // row of the head's first step in [B, T, H]
var<private> ty: u32;
var<private> tx: u32;

fn place(head: u32, lane: u32) {
    first = head / params.h * params.t * params.h + head % params.h;
    ty = lane / 8u;
    tx = lane % 8u;
}

// Place i of an input.
fn value(operand: u32, i: u32) -> Value {
    if operand == Q {
        return Value(q[i]);
    }
    if operand == K {
        return Value(k[i]);
    }
#if BACK
    if operand == GRAD_O {
        return Value(grad_o[i]);
    }
#endif
    return Value(v[i]);
}

// Steps of the thread's columns in a tile whose columns begin at step t.
fn across(t: u32) -> vec4<u32> {
    return vec4<u32>(t + 4u * tx) + vec4<u32>(0u, 1u, 2u, 3u);
}

// Rows in [B, T, H] of four steps; steps past the end have the last one's.
fn rows_of(t: vec4<u32>) -> vec4<u32> {
    return vec4<u32>(first) + min(t, vec4<u32>(params.t - 1u)) * params.h;
}

// Offsets 0 .. 3, each the last one inside the row where it would be past it; 4 c < d.
fn offsets(c: u32, d: u32) -> vec4<u32> {
    return min(vec4<u32>(0u, 1u, 2u, 3u), vec4<u32>(d - 1u - 4u * c));
}

// Which of the components 4 c .. 4 c + 3 lie in a row of width d.
fn inside(c: u32, d: u32) -> vec4<bool> {
    return vec4<u32>(4u * c) + vec4<u32>(0u, 1u, 2u, 3u) < vec4<u32>(d);
}

// Components 4 c .. of the operand's row at step t; zeros past the ends of the row and of the sequence.
fn load(operand: u32, t: u32, c: u32) -> vec4<f32> {
    if t >= params.t || 4u * c >= params.d {
        return vec4<f32>();
    }
#if VEC
    return value(operand, (first + t * params.h) * (params.d / 4u) + c);
#else
    let i = (first + t * params.h) * params.d + 4u * c + offsets(c, params.d);
    let row = vec4<f32>(value(operand, i.x), value(operand, i.y), value(operand, i.z), value(operand, i.w));
    return select(vec4<f32>(), row, inside(c, params.d));
#endif
}

// Components 4 c .. of an output's row at step t, where they lie in the row and in the sequence.
fn store(operand: u32, t: u32, c: u32, row: vec4<f32>) {
    if t >= params.t || 4u * c >= params.d {
        return;
    }
#if VEC
    put(operand, (first + t * params.h) * (params.d / 4u) + c, row);
#else
    let i = (first + t * params.h) * params.d + 4u * c;
    let n = params.d - 4u * c;
    put(operand, i, row.x);
    if n > 1u {
        put(operand, i + 1u, row.y);
    }
    if n > 2u {
        put(operand, i + 2u, row.z);
    }
    if n > 3u {
        put(operand, i + 3u, row.w);
    }
#endif
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
#if FORGET

// Sums of log decays at four rows, as attention_decay_sums makes them.
struct Sums { quarters: vec4<i32>, rest: vec4<f32> }

fn sums_at(s0: vec2<i32>, s1: vec2<i32>, s2: vec2<i32>, s3: vec2<i32>) -> Sums {
    let quarters = vec4<i32>(s0.x, s1.x, s2.x, s3.x);
    return Sums(quarters, bitcast<vec4<f32>>(vec4<i32>(s0.y, s1.y, s2.y, s3.y)));
}

// The log decays after `early` up to `late`: whole quarters cancel exactly, what is left is small.
fn log_decay(late: Sums, early: Sums) -> vec4<f32> {
    return fma(vec4<f32>(0.25), vec4<f32>(late.quarters - early.quarters), late.rest - early.rest);
}
#endif
