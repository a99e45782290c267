// Channels of a thread in the short convolutions: one or, WIDE, four neighbours. The importing kernel has the binding `w`.
#import lib/activation_lanes

struct Taps { t0: Lanes, t1: Lanes, t2: Lanes, t3: Lanes }

// The taps of a thread's channels, the last on the current step.
fn taps_of(c: u32) -> Taps {
#if WIDE
    let taps = transpose(mat4x4(w[4u * c], w[4u * c + 1u], w[4u * c + 2u], w[4u * c + 3u]));
    return Taps(taps[0], taps[1], taps[2], taps[3]);
#else
    return Taps(w[c].x, w[c].y, w[c].z, w[c].w);
#endif
}

// sum_j taps_j x_j.
fn convolve(taps: Taps, x0: Lanes, x1: Lanes, x2: Lanes, x3: Lanes) -> Lanes {
#if WIDE
    return fma(taps.t3, x3, fma(taps.t2, x2, fma(taps.t1, x1, taps.t0 * x0)));
#else
    return dot(vec4(taps.t0, taps.t1, taps.t2, taps.t3), vec4(x0, x1, x2, x3));
#endif
}
