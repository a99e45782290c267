// Four steps of the scan's backward pass in workgroup memory: B and C with all states, dt, u and dp of the workgroup's
// channels, 0 past the segment's end and past the last channel. Imports: lib/quads; the importing kernel (scan_bwd) has
// the bindings `x`, `u` and `params`.
const DT: u32 = 0;
const U: u32 = 1;
const DP: u32 = 2;

var<workgroup> s_b: array<vec4<f32>, 4 * LANES>;
var<workgroup> s_c: array<vec4<f32>, 4 * LANES>;
var<workgroup> s_point: array<f32, 12 * CHANNELS>; // dt, u and dp of four steps

// Four steps from `t0` on: B, dt, u; C and dp too if `all`.
fn stage(thread: u32, first: u32, local: u32, t0: u32, end: u32, all: bool) {
    workgroupBarrier();
    for (var i = thread; i < 4u * LANES; i += THREADS) {
        let t = t0 + i / LANES;
        let row = (params.sequence0 + local) * params.t + t;
        let n = 4u * (i % LANES);
        let ok = t < end;
#for k in 0..4
        s_b[i][{k}] = state(B, row, n + {k}u, ok);
        if all {
            s_c[i][{k}] = state(C, row, n + {k}u, ok);
        }
#end
    }
    for (var i = thread; i < 4u * CHANNELS; i += THREADS) {
        let t = t0 + i / CHANNELS;
        let c = first + i % CHANNELS;
        let ok = t < end && c < params.channels;
        let at = select(0u, (local * params.t + t) * params.channels + c, ok);
        let from_u = select(0u, ((params.sequence0 + local) * params.t + t) * params.channels + c, ok);
#if TIMED
        s_point[i] = select(0.0, x[at], ok);
#endif
        s_point[4u * CHANNELS + i] = select(0.0, f32(u[from_u]), ok);
        if all {
            s_point[8u * CHANNELS + i] = select(0.0, x[params.n + at], ok);
        }
    }
    workgroupBarrier();
}

// A staged quantity of a pair of channels.
fn point(quantity: u32, step: u32, pair: u32) -> vec2<f32> {
    let i = (quantity * 4u + step) * CHANNELS + 2u * pair;
    return vec2(s_point[i], s_point[i + 1u]);
}

// What a staged step writes to the states of a pair of channels, beside B.
fn written(step: u32, pair: u32) -> vec2<f32> {
#if TIED
    return point(DT, step, pair) * point(U, step, pair);
#else
    return point(U, step, pair);
#endif
}
