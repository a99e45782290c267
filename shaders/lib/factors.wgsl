// Decay factors of the rows of a chunk, each the exponential of a sum of non-positive log decays. Imports: lib/chunk; the
// importing kernel has a binding `table`.
var<workgroup> log_decay: array<f32, CHUNK>;

// The log decay of row `lane` < C; 0 for padding, clamped so that the sums stay finite where a gate is 0.
fn set_log_decay(lane: u32, here: f32) {
    if lane < CHUNK {
        log_decay[lane] = here;
    }
    workgroupBarrier();
}

// Row factors.
fn write_factors(lane: u32) {
    if lane < CHUNK {
        var before = 0.0;
        for (var i = 0u; i <= lane; i++) {
            before += log_decay[i];
        }
        var after = 0.0;
        for (var i = CHUNK - 1u; i > lane; i--) {
            after += log_decay[i];
        }
        table[entry(DECAY_IN, lane)] = exp(before);
        table[entry(DECAY_OUT, lane)] = exp(after);
    }
}
