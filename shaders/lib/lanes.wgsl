// Channels and states of a diagonal recurrence on a workgroup, which does CHANNELS channels of a sequence: LANES threads
// share a channel, PER quads of its states each (lane, lane + LANES, ..), and STAGED steps are staged at a time, the
// channels of a step side by side. The importing kernel has a binding `params` with the number of `channels`.
const THREADS: u32 = 128;
const LANES: u32 = 4;
const PER: u32 = 4;
const STAGED: u32 = 8;
const CHANNELS: u32 = THREADS / LANES;
const QUADS: u32 = LANES * PER;

var<private> first: u32; // the workgroup's first channel
var<private> own: u32; // the thread's channel, from there on
var<private> lane: u32;

fn place(tile: u32, thread: u32) {
    first = tile * CHANNELS;
    own = thread / LANES;
    lane = thread % LANES;
}

// Channel i of the workgroup or, where it is past the last one, that.
fn channel(i: u32) -> u32 {
    return min(first + i, params.channels - 1u);
}
