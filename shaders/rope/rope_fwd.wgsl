// Turns the pairs (x_i, x_{i+D/2}) of each head by t base^(-2i/D) (models.md 4.8); the backward pass runs it with the
// other direction. A thread a pair, or four neighbouring pairs if WIDE, of all heads; grid: ops::grid_1d over ceil(n / 256).
// The angle is an integer: 32 bits of a turn, the upper half of t times a 64-bit fraction. Whole turns overflow away
// exactly, and no compiler may reorder it. The rest, at most 1/8 turn, goes to Taylor polynomials, error below 3e-8.
#import lib/grid
#import lib/wide

alias t_x = f32;
alias t_y = f32;
#if WIDE
alias a_x = vec4<t_x>;
alias a_y = vec4<t_y>;
#else
alias a_x = t_x;
alias a_y = t_y;
#endif
const POSITION: bool = false; // time steps count from position[0]

// n = B T quads threads; quads: threads a row.
struct Params {
    n: u32, t: u32, h: u32, quads: u32,
    direction: f32, pad0: u32, pad1: u32, pad2: u32,
    turns: array<vec4<u32>, 64>, // upper and lower half of 2^64 turns a step, two pairs a vector
}

@group(0) @binding(0) var<storage, read_write> x: array<a_x>; // [B, T, H, D]
@group(0) @binding(2) var<storage, read_write> y: array<a_y>; // [B, T, H, D]
#if POSITION
@group(0) @binding(1) var<storage, read_write> position: array<u32>; // [1]
#endif
@group(0) @binding(3) var<uniform> params: Params;

// Upper 32 bits of a product.
fn mul_high(a: u32, b: u32) -> u32 {
    let low = (a & 0xffffu) * (b & 0xffffu);
    let mid = (a >> 16u) * (b & 0xffffu) + (low >> 16u);
    let mid2 = (a & 0xffffu) * (b >> 16u) + (mid & 0xffffu);
    return (a >> 16u) * (b >> 16u) + (mid >> 16u) + (mid2 >> 16u);
}

// (cos, sin) of pair i at time t.
fn rotation(t: u32, i: u32) -> vec2<f32> {
    let two = params.turns[i / 2u];
    let turns = select(two.xy, two.zw, (i & 1u) == 1u);
    let phase = t * turns.x + mul_high(t, turns.y);
    // The nearest quarter turn, and what is left of the phase: -1/8 .. 1/8 turn.
    let quarter = (phase + 0x20000000u) >> 30u;
    let a = f32(bitcast<i32>(phase - (quarter << 30u))) * 1.4629180792671596e-9; // 2 pi / 2^32
    let z = a * a;
    let s = a + a * z * (-1.0 / 6.0 + z * (1.0 / 120.0 + z * (-1.0 / 5040.0 + z * (1.0 / 362880.0))));
    let c = 1.0 + z * (-0.5 + z * (1.0 / 24.0 + z * (-1.0 / 720.0 + z * (1.0 / 40320.0))));
    let turned = select(vec2<f32>(c, s), vec2<f32>(-s, c), (quarter & 1u) == 1u);
    return select(turned, -turned, (quarter & 2u) == 2u);
}

@compute @workgroup_size(256)
fn rope_fwd(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = workgroup_index(wg, count) * 256u + lane;
    if index >= params.n {
        return;
    }
    let quad = index % params.quads;
    let place = index / params.quads;
#if POSITION
    let t = place % params.t + position[0];
#else
    let t = place % params.t;
#endif
#if WIDE
    let r0 = rotation(t, 4u * quad);
    let r1 = rotation(t, 4u * quad + 1u);
    let r2 = rotation(t, 4u * quad + 2u);
    let r3 = rotation(t, 4u * quad + 3u);
    let c = vec4<f32>(r0.x, r1.x, r2.x, r3.x);
    let s = params.direction * vec4<f32>(r0.y, r1.y, r2.y, r3.y);
#else
    let r = rotation(t, quad);
    let c = r.x;
    let s = params.direction * r.y;
#endif
    for (var head = 0u; head < params.h; head++) {
        let lo = (place * params.h + head) * 2u * params.quads + quad;
        let hi = lo + params.quads;
        let a = Lanes(x[lo]);
        let b = Lanes(x[hi]);
        y[lo] = a_y(a * c - b * s);
        y[hi] = a_y(b * c + a * s);
    }
}
