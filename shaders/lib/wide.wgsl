// How pointwise kernels take elements: one by one or, WIDE, four neighbours of a row at a time.
const WIDE: bool = false;
#if WIDE
const WIDTH: u32 = 4;
alias Lanes = vec4<f32>;
#else
const WIDTH: u32 = 1;
alias Lanes = f32;
#endif
