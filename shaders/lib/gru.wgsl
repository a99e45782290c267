// The cell of a gated recurrent unit, from the two sides of its gates' arguments on. Source: models.md 3.8.
#import lib/activation

struct GruGates {
    r: vec2<f32>, // r, 1 - r
    z: vec2<f32>, // z, 1 - z
    m: vec2<f32>, // m, 1 - m^2
}

// r = sigma(x_r + s_r), z = sigma(x_z + s_z), m = tanh(x_m + r s_m); `x` and `s` are in this order.
fn gru_gates(x: vec3<f32>, s: vec3<f32>) -> GruGates {
    let r = sigmoids(x.x + s.x);
    let z = sigmoids(x.y + s.y);
    return GruGates(r, z, tanh_slope(x.z + r.x * s.z));
}

// h of a step from that of the step before.
fn gru_cell(x: vec3<f32>, s: vec3<f32>, before: f32) -> f32 {
    let gates = gru_gates(x, s);
    return gates.z.y * gates.m.x + gates.z.x * before;
}
