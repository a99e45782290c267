// ln(1 - 2^(-5-h)), the fixed log decay of head h: the series of ln(1 - a), to 5e-9 of it.
// Source: Sun et al. 2023, "Retentive Network", section 2.
fn retention_log_decay(head: u32) -> f32 {
    let a = bitcast<f32>((122u - min(head, 100u)) << 23u);
    return -a * (1.0 + a * (0.5 + a * (0.33333334 + a * (0.25 + a * 0.2))));
}
