// How the operands of tile products are read: WIDE, four neighbours of a row at a time, so that `Value` is a vec4.
const COOP: bool = false; // products on matrix units, at f32 accuracy (lib/split)
const VEC: bool = false; // d_k and d_v are multiples of 4
const WIDE: bool = COOP && VEC;
#if WIDE
const WIDTH: u32 = 4;
alias Value = vec4<f32>;

// What of four neighbours begins at the one with index j.
fn part_of(x: vec4<f32>, j: u32) -> Value {
    return x;
}

fn components_sum(x: Value) -> f32 {
    return (x.x + x.y) + (x.z + x.w);
}
#else
const WIDTH: u32 = 1;
alias Value = f32;

fn part_of(x: vec4<f32>, j: u32) -> Value {
    return x[j % 4u];
}

fn components_sum(x: Value) -> f32 {
    return x;
}
#endif
