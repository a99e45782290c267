// Operands of f16 matrix units at f32 accuracy: x 2^e, where the tensor's largest magnitude lies in [2^14, 2^15), is
// high + low, both f16. Products sum low high + high low, small, apart from high high.

// The exponent e of an operand's scale 2^e, from the bits of its largest magnitude. Zero and numbers too small to be scaled
// up that far get the largest.
fn scale_exponent(amax: u32) -> i32 {
    return min(141 - i32(amax >> 23u), 126);
}

// 2^e for -126 <= e <= 127.
fn power_of_two(e: i32) -> f32 {
    return bitcast<f32>(u32(e + 127) << 23u);
}

// x rounded to the 11 bits of an f16. With integers: a conversion to f16 and back may be folded away, and low with it.
fn high(x: vec4<f32>) -> vec4<f32> {
    return bitcast<vec4<f32>>((bitcast<vec4<u32>>(x) + vec4<u32>(0x1000u)) & vec4<u32>(0xffffe000u));
}
