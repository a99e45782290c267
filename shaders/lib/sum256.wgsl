// Sum and maximum over the 256 invocations of a workgroup, in a fixed order; every invocation gets the result.
var<workgroup> sum256_parts: array<f32, 256>;

fn sum256(lane: u32, value: f32) -> f32 {
    workgroupBarrier();
    sum256_parts[lane] = value;
    workgroupBarrier();
    for (var half = 128u; half > 0u; half /= 2u) {
        if lane < half {
            sum256_parts[lane] += sum256_parts[lane + half];
        }
        workgroupBarrier();
    }
    return sum256_parts[0];
}

fn max256(lane: u32, value: f32) -> f32 {
    workgroupBarrier();
    sum256_parts[lane] = value;
    workgroupBarrier();
    for (var half = 128u; half > 0u; half /= 2u) {
        if lane < half {
            sum256_parts[lane] = max(sum256_parts[lane], sum256_parts[lane + half]);
        }
        workgroupBarrier();
    }
    return sum256_parts[0];
}
