// Rows of what attention reads and writes, [B, T, H, D], and its decays between two steps.
//
// The importing kernel declares `BACK`, whether it reads what the backward pass has, its outputs, the binding `params`, and
// `fn put(operand: u32, i: u32, x: Value)`: place i of one of its outputs, by numbers that are constants at every call, so
// that the compiler keeps one branch. The host guarantees D % 4 == 0 if VEC.
alias t_q = f32;
alias t_k = f32;
alias t_v = f32;
const VEC: bool = true; // 16-byte loads
const FORGET: bool = false; // log decays between key and query are added to the score

struct Params { t: u32, h: u32, d: u32, heads: u32, tiles: u32, scale: f32 }

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

@group(0) @binding(0) var<storage, read_write> q: array<a_q>; // [B, T, H, D]
@group(0) @binding(1) var<storage, read_write> k: array<a_k>; // [B, T, H, D]
@group(0) @binding(2) var<storage, read_write> v: array<a_v>; // [B, T, H, D]
#if BACK
alias t_grad_o = f32;
#if VEC
alias a_grad_o = vec4<t_grad_o>;
#else
alias a_grad_o = t_grad_o;
#endif
@group(0) @binding(3) var<storage, read_write> grad_o: array<a_grad_o>; // [B, T, H, D]
#if FORGET
@group(0) @binding(4) var<storage, read_write> stats: array<vec4<i32>>; // [B, T, H], of attention_stats_bwd
#else
@group(0) @binding(4) var<storage, read_write> stats: array<vec2<i32>>; // [B, T, H], of attention_stats_bwd
#endif
#endif

var<private> first: u32; // row of the head's first step in [B, T, H]

fn place_head(head: u32) {
    first = head / params.h * params.t * params.h + head % params.h;
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
    if (t >= params.t) | (4u * c >= params.d) {
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
    if (t >= params.t) | (4u * c >= params.d) {
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
