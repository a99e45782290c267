// Places in the statistics of an update, which grad_norm writes and adam reads.
const NORM: u32 = 0u;
const FACTOR: u32 = 1u;
const HALTED: u32 = 2u;
const SKIPPED: u32 = 3u;
