// How pointwise kernels take elements: one by one or, WIDE, four neighbours of a row at a time.
const WIDE: bool = false;
#if WIDE
const WIDTH: u32 = 4;
alias Lanes = vec4<f32>;
#else
const WIDTH: u32 = 1;
alias Lanes = f32;
#endif

// The sum of what a thread has of a row.
fn lanes_total(x: Lanes) -> f32 {
#if WIDE
    return (x.x + x.y) + (x.z + x.w);
#else
    return x;
#endif
}

// The first of them.
fn first_of(x: Lanes) -> f32 {
#if WIDE
    return x.x;
#else
    return x;
#endif
}
