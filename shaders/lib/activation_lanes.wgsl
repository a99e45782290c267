// lib/activation for what a thread has of a row (lib/wide).
#import lib/activation
#import lib/wide

fn sigmoid_lanes(x: Lanes) -> Lanes {
#if WIDE
    return vec4(sigmoid(x.x), sigmoid(x.y), sigmoid(x.z), sigmoid(x.w));
#else
    return sigmoid(x);
#endif
}

fn silu_lanes(x: Lanes) -> Lanes {
#if WIDE
    return vec4(silu(x.x), silu(x.y), silu(x.z), silu(x.w));
#else
    return silu(x);
#endif
}

fn silu_slope_lanes(x: Lanes) -> Lanes {
#if WIDE
    return vec4(silu_slope(x.x), silu_slope(x.y), silu_slope(x.z), silu_slope(x.w));
#else
    return silu_slope(x);
#endif
}
