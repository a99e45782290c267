// The operands of solve_split_coop. Each matrix is times a power of two, its largest magnitude in [2^10, 2^11); `scales` has what
// undoes it: 2^-e of M', 2^-e of K', and 2^e of the write strengths, which are below 1 times it. STATES: M itself as well, for the
// backward pass of lib/half_chunk. A workgroup a (chunk, h, b); grid (chunks, H, B). Rows of 64 or 128 columns.
enable f16;
const STATES: bool = false;
#if STATES
alias t_states = f16;
#endif
alias t_k = f32;
alias t_operands = f16;
#import lib/mesa_operands

#if WIDE
@group(0) @binding(0) var<storage, read_write> k: array<vec4<t_k>>; // [B, T, H, D]
#else
@group(0) @binding(0) var<storage, read_write> k: array<t_k>;
#endif
@group(0) @binding(1) var<storage, read_write> beta: array<f32>; // [B, T, H]
@group(0) @binding(2) var<storage, read_write> m: array<Value>; // [B, H, chunks, D, D]
@group(0) @binding(3) var<storage, read_write> lambda: array<f32>; // [H, D]
@group(0) @binding(4) var<storage, read_write> operands: array<vec4<t_operands>>; // [B, H, chunks, OPERANDS]
@group(0) @binding(5) var<storage, read_write> scales: array<vec4<f32>>; // [B, H, chunks]
#if STATES
@group(0) @binding(6) var<storage, read_write> states: array<vec4<t_states>>; // [B, H, chunks, D, D], padded
#endif
@group(0) @binding(7) var<uniform> params: Params;

// Quads of M' and of K' a thread has in registers.
const M_QUADS: u32 = KEY_BLOCKS;
const K_QUADS: u32 = 4;
const THREADS: u32 = {256 * COLS};
var<workgroup> root: array<vec4<f32>, 32>; // lambda^-1/2, 0 for padding
var<workgroup> largest: array<vec4<f32>, {8 * COLS}>;

// Row of quad `at` in blocks, and its first column.
fn row_of(at: u32) -> u32 {
    return at / 64u / ROW_BLOCKS * 16u + at % 64u / 4u;
}

fn column_of(at: u32) -> u32 {
    return at / 64u % ROW_BLOCKS * 16u + at % 4u * 4u;
}

// Four columns of row i of M ..
fn state_quad(i: u32, j: u32) -> vec4<f32> {
#if WIDE
    let spot = in_state(i, j);
    return select(vec4(0.0), m[spot.at], spot.ok);
#else
    var value = vec4(0.0);
#for c in 0..4
    {
        let spot = in_state(i, j + {c}u);
        value[{c}] = select(0.0, m[spot.at], spot.ok);
    }
#end
    return value;
#endif
}

// .. and of K.
fn key_quad(i: u32, j: u32) -> vec4<f32> {
#if WIDE
    let spot = in_keys(i, j);
    return select(vec4(0.0), vec4<f32>(k[spot.at]), spot.ok);
#else
    var value = vec4(0.0);
#for c in 0..4
    {
        let spot = in_keys(i, j + {c}u);
        value[{c}] = select(0.0, f32(k[spot.at]), spot.ok);
    }
#end
    return value;
#endif
}

fn magnitude(x: vec4<f32>) -> f32 {
    let a = abs(x);
    return max(max(a.x, a.y), max(a.z, a.w));
}

// The exponent that brings a magnitude into [1, 2); the identity beside it makes what is far smaller nothing.
fn exponent(x: f32) -> i32 {
    return clamp(127 - i32(bitcast<u32>(x) >> 23u), -60, 60);
}

fn store(at: u32, low: u32, value: vec4<f32>) {
    let rounded = high(value);
    operands[at] = vec4<t_operands>(rounded);
    operands[at + low] = vec4<t_operands>(value - rounded);
}

@compute @workgroup_size(THREADS)
fn operands_split_coop(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    set_chunk(wg);
#for n in 0..M_QUADS
    let i{n} = row_of(thread + {THREADS * n}u);
    let j{n} = column_of(thread + {THREADS * n}u);
    let state{n} = state_quad(i{n}, j{n});
#end
#for n in 0..K_QUADS
    let key{n} = key_quad(row_of(thread + {THREADS * n}u), column_of(thread + {THREADS * n}u));
#end
    if thread < 128u {
        var here = 0.0;
        if thread < params.d_k {
            here = 1.0 / sqrt(lambda[head * params.d_k + thread]);
        }
        root[thread / 4u][thread % 4u] = here;
    }
    workgroupBarrier();
    var top = vec4(0.0);
#for n in 0..M_QUADS
    let m{n} = state{n} * (root[i{n} / 4u][i{n} % 4u] * root[j{n} / 4u]);
    top.x = max(top.x, magnitude(m{n}));
#end
#for n in 0..K_QUADS
    let k{n} = key{n} * root[column_of(thread + {THREADS * n}u) / 4u];
    top.y = max(top.y, magnitude(k{n}));
#end
    if thread < CHUNK && is_row(thread) {
        top.z = abs(beta[row(thread)]);
    }
    top = subgroupMax(top);
    if thread % 32u == 0u {
        largest[thread / 32u] = top;
    }
    workgroupBarrier();
#for n in 0..8 * COLS
    top = max(top, largest[{n}]);
#end
    let e_m = exponent(top.x) + 10;
    let e_k = exponent(top.y) + 10;
    if thread == 0u {
        let strength = power_of_two(exponent(top.z) - 1);
        scales[block()] = vec4(power_of_two(-e_m), power_of_two(-e_k), strength, 0.0);
    }
    let base = block() * OPERANDS;
#if STATES
    let columns = (params.d_v + 31u) / 32u * 2u; // blocks of a row, as in lib/half_chunk
#endif
#for n in 0..M_QUADS
    store(base + OF_M + thread + {THREADS * n}u, OF_M_LOW - OF_M, power_of_two(e_m) * m{n});
#if STATES
    if j{n} / 16u < columns {
        let place = (block() * KEY_BLOCKS + i{n} / 16u) * columns + j{n} / 16u;
        states[place * 64u + thread % 64u] = vec4<t_states>(state{n});
    }
#endif
#end
#for n in 0..K_QUADS
    store(base + OF_K + thread + {THREADS * n}u, OF_K_LOW - OF_K, power_of_two(e_k) * k{n});
#end
}
