// The operands of solve_split_coop. Each matrix is times a power of two, its largest magnitude in [2^10, 2^11); `scales` has what
// undoes it: 2^-e of M', 2^-e of K', and 2^e of the write strengths, which are below 1 times it. STATES: M itself as well, for the
// backward pass of lib/half_chunk. A workgroup a (chunk, h, b); grid (chunks, H, B).
enable f16;
const STATES: bool = false;
#if STATES
alias t_states = f16;
#endif
alias t_k = f32;
alias t_operands = f16;
#import lib/mesa_operands

@group(0) @binding(0) var<storage, read_write> k: array<t_k>; // [B, T, H, D]
@group(0) @binding(1) var<storage, read_write> beta: array<f32>; // [B, T, H]
@group(0) @binding(2) var<storage, read_write> m: array<f32>; // [B, H, chunks, D, D]
@group(0) @binding(3) var<storage, read_write> lambda: array<f32>; // [H, D]
@group(0) @binding(4) var<storage, read_write> operands: array<vec4<t_operands>>; // [B, H, chunks, OPERANDS]
@group(0) @binding(5) var<storage, read_write> scales: array<vec4<f32>>; // [B, H, chunks]
#if STATES
@group(0) @binding(6) var<storage, read_write> states: array<vec4<t_states>>; // [B, H, chunks, D, D], padded
#endif
@group(0) @binding(7) var<uniform> params: Params;

var<workgroup> root: array<f32, 128>; // lambda^-1/2, 0 for padding
var<workgroup> largest: array<vec4<f32>, 256>;

// Four columns of row i of M ..
fn state_quad(i: u32, j: u32) -> vec4<f32> {
    var value = vec4(0.0);
#for c in 0..4
    if i < params.d_k && j + {c}u < params.d_k {
        value[{c}] = m[(block() * params.d_k + i) * params.d_k + j + {c}u];
    }
#end
    return value;
}

// .. of M' ..
fn scaled_quad(i: u32, j: u32) -> vec4<f32> {
    return state_quad(i, j) * (root[i] * vec4(root[j], root[j + 1u], root[j + 2u], root[j + 3u]));
}

// .. and of K'.
fn key_quad(i: u32, j: u32) -> vec4<f32> {
    var value = vec4(0.0);
#for c in 0..4
    if is_row(i) && j + {c}u < params.d_k {
        value[{c}] = f32(k[row(i) * params.d_k + j + {c}u]) * root[j + {c}u];
    }
#end
    return value;
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

@compute @workgroup_size(256)
fn operands_split_coop(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    set_chunk(wg);
    if thread < 128u {
        var here = 0.0;
        if thread < params.d_k {
            here = 1.0 / sqrt(lambda[head * params.d_k + thread]);
        }
        root[thread] = here;
    }
    workgroupBarrier();
    var top = vec4(0.0);
    for (var at = thread; at < M_SIZE; at += 256u) {
        top.x = max(top.x, magnitude(scaled_quad(at / (ROW_BLOCKS * 4u), at % (ROW_BLOCKS * 4u) * 4u)));
    }
    for (var at = thread; at < K_SIZE; at += 256u) {
        top.y = max(top.y, magnitude(key_quad(at / (ROW_BLOCKS * 4u), at % (ROW_BLOCKS * 4u) * 4u)));
    }
    if thread < CHUNK && is_row(thread) {
        top.z = abs(beta[row(thread)]);
    }
    largest[thread] = top;
    workgroupBarrier();
    for (var span = 128u; span > 0u; span /= 2u) {
        if thread < span {
            largest[thread] = max(largest[thread], largest[thread + span]);
        }
        workgroupBarrier();
    }
    top = largest[0];
    let e_m = exponent(top.x) + 10;
    let e_k = exponent(top.y) + 10;
    if thread == 0u {
        let strength = power_of_two(exponent(top.z) - 1);
        scales[block()] = vec4(power_of_two(-e_m), power_of_two(-e_k), strength, 0.0);
    }
    let base = block() * OPERANDS;
    // Quad `at` of the blocks: whole blocks of 16 rows of four quads.
    for (var at = thread; at < M_SIZE; at += 256u) {
        let i = at / 64u / ROW_BLOCKS * 16u + at % 64u / 4u;
        let j = at / 64u % ROW_BLOCKS * 16u + at % 4u * 4u;
        store(base + OF_M + at, OF_M_LOW - OF_M, power_of_two(e_m) * scaled_quad(i, j));
#if STATES
        states[block() * M_SIZE + at] = vec4<t_states>(state_quad(i, j));
#endif
    }
    for (var at = thread; at < K_SIZE; at += 256u) {
        let i = at / 64u / ROW_BLOCKS * 16u + at % 64u / 4u;
        let j = at / 64u % ROW_BLOCKS * 16u + at % 4u * 4u;
        store(base + OF_K + at, OF_K_LOW - OF_K, power_of_two(e_k) * key_quad(i, j));
    }
}
