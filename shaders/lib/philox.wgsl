// Philox4x32-10: four words of random bits from a counter and a key; mirrors src/philox.rs.

const INT64: bool = false; // there are integers of 64 bits

// High word of a 32 x 32 bit product; without 64-bit integers from products of 16-bit halves.
fn mul_high(a: u32, b: u32) -> u32 {
#if INT64
    return u32((u64(a) * u64(b)) >> 32u);
#else
    let a0 = a & 0xffffu;
    let a1 = a >> 16u;
    let b0 = b & 0xffffu;
    let b1 = b >> 16u;
    let low = a1 * b0 + ((a0 * b0) >> 16u);
    let middle = a0 * b1 + (low & 0xffffu);
    return a1 * b1 + (low >> 16u) + (middle >> 16u);
#endif
}

fn philox4x32(counter: vec4<u32>, key: vec2<u32>) -> vec4<u32> {
    var c = counter;
    var k = key;
    for (var round = 0u; round < 10u; round++) {
        let hi0 = mul_high(0xd2511f53u, c.x);
        let hi1 = mul_high(0xcd9e8d57u, c.z);
        c = vec4(hi1 ^ c.y ^ k.x, 0xcd9e8d57u * c.z, hi0 ^ c.w ^ k.y, 0xd2511f53u * c.x);
        k += vec2(0x9e3779b9u, 0xbb67ae85u);
    }
    return c;
}
