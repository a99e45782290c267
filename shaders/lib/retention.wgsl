// What head h of a RetNet forgets from one token to the next, 2^(-5-h). Source: Sun et al. 2023, "Retentive Network",
// section 2.
fn forgotten(head: u32) -> f32 {
    return bitcast<f32>((122u - min(head, 100u)) << 23u);
}

// ln(1 - 2^(-5-h)), the fixed log decay of head h: the series of ln(1 - a), to 5e-9 of it.
fn retention_log_decay(head: u32) -> f32 {
    let a = forgotten(head);
    return -a * (1.0 + a * (0.5 + a * (0.33333334 + a * (0.25 + a * 0.2))));
}
