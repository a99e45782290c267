// Sums of the scan's backward pass, a step at a time, from what the threads leave in workgroup memory: over channels
// for dB and dC; over states for du, yp and ddelta, a pair of channels a thread. Barriers are the caller's. Imports:
// lib/scan_steps, lib/activation; the importing kernel (scan_bwd) has the bindings `x`, `grad_u`, `sums` and `params`.
var<workgroup> s_quad: array<vec4<f32>, THREADS>; // for sums over channels
var<workgroup> s_one: array<vec2<f32>, PAIRS * PITCH>; // for sums over states
var<workgroup> s_two: array<vec2<f32>, PAIRS * PITCH>;

// The sum over channels of what the threads left in s_quad, to a row of dB or dC.
fn sum_channels(thread: u32, at: u32, inside: bool) {
    for (var n = thread; n < 4u * LANES; n += THREADS) {
        if inside && n < params.states {
            var sum = 0.0;
            for (var pair = 0u; pair < PAIRS; pair++) {
                sum += s_quad[pair * LANES + n / 4u][n % 4u];
            }
            sums[at + n] = sum;
        }
    }
}

// du, at `out_at`, and yp, at `at`, of the channels c and c + 1, pair `pair` of the workgroup, at a staged step: from lam.B
// in s_one and C.h in s_two. dD is added to d_skip. Gives lam.B.
fn write_du(
    step: u32, pair: u32, c: u32, at: u32, out_at: u32, skip: vec2<f32>, grad_skip: ptr<function, vec2<f32>>,
) -> vec2<f32> {
    var lam_b = vec2(0.0);
#if GATED
    var yp = vec2(0.0);
#endif
    for (var l = 0u; l < LANES; l++) {
        lam_b += s_one[pair * PITCH + l];
#if GATED
        yp += s_two[pair * PITCH + l];
#endif
    }
    let step_u = point(U, step, pair);
    let step_dp = point(DP, step, pair);
#if TIED
    let grad = skip * step_dp + point(DT, step, pair) * lam_b;
#else
    let grad = skip * step_dp + lam_b;
#endif
    *grad_skip += step_dp * step_u;
#if GATED
    yp += skip * step_u;
#endif
#for p in 0..2
    if c + {p}u < params.channels {
        grad_u[out_at + {p}u] = t_grad_u(grad[{p}]);
#if GATED
        x[params.n + at + {p}u] = yp[{p}];
#endif
    }
#end
    return lam_b;
}
#if TIMED

// ddelta, at `at`, of the same channels at the same step: from m.A in s_one and lam.B. Gives it.
fn write_ddelta(step: u32, pair: u32, c: u32, at: u32, lam_b: vec2<f32>) -> vec2<f32> {
    var grad_step = vec2(0.0);
#if DECAYS
    for (var l = 0u; l < LANES; l++) {
        grad_step += s_one[pair * PITCH + l];
    }
    grad_step *= 0.6931471805599453;
#endif
#if TIED
    grad_step += point(U, step, pair) * lam_b;
#endif
    let dt = point(DT, step, pair);
    let grad_delta = grad_step * vec2(complement(dt.x), complement(dt.y));
#for p in 0..2
    if c + {p}u < params.channels {
        x[at + {p}u] = grad_delta[{p}];
    }
#end
    return grad_delta;
}
#endif
