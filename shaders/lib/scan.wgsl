// What the scan's forward kernels share: inputs, their way into workgroup memory, and saved states. The importing file
// declares `READS_C`: whether C is staged as well, from its binding `cm` to its `s_c`.
#import lib/activation
#import lib/lanes
#import lib/quads

const CHUNK: u32 = 32; // a multiple of STAGED
const TIED: bool = true; // dt scales the write
const DECAYS: bool = true; // the states decay
const TIMED: bool = TIED || DECAYS; // there is a step dt

alias t_u = f32;
alias t_delta_raw = f32;
alias t_bm = f32;

// A segment has `segment` steps, a multiple of CHUNK; the last one may be shorter.
struct Params { t: u32, channels: u32, states: u32, chunks: u32, tiles: u32, segments: u32, segment: u32, groups: u32 }

@group(0) @binding(0) var<storage, read_write> u: array<t_u>; // [B, T, E]
@group(0) @binding(1) var<storage, read_write> bm: array<t_bm>; // [B, T, N]
@group(0) @binding(2) var<storage, read_write> saved: array<f32>; // [B, chunks, E, N]
@group(0) @binding(3) var<storage, read_write> rates: array<f32>; // [E, N], delta_bias [E], D [E]
#if TIMED
@group(0) @binding(4) var<storage, read_write> delta_raw: array<t_delta_raw>; // [B, T, E]
#endif

var<workgroup> s_b: array<vec4<f32>, STAGED * QUADS>;
#if DECAYS
var<workgroup> s_dt: array<f32, STAGED * CHANNELS>;
#endif
var<workgroup> s_written: array<f32, STAGED * CHANNELS>; // u, times dt if TIED

// `staged` steps from row `row0` of B on: B, dt and u.
fn stage(thread: u32, row0: u32, staged: u32) {
    for (var i = thread; i < staged * QUADS; i += THREADS) {
        let row = row0 + i / QUADS;
        let n = 4u * (i % QUADS);
        s_b[i] = quad(B, row, n);
#if READS_C
        s_c[i] = quad(C, row, n);
#endif
    }
    for (var i = thread; i < staged * CHANNELS; i += THREADS) {
        let c = channel(i % CHANNELS);
        let at = (row0 + i / CHANNELS) * params.channels + c;
#if TIMED
        let dt = softplus(f32(delta_raw[at]) + rates[params.channels * params.states + c]);
#endif
#if DECAYS
        s_dt[i] = dt;
#endif
#if TIED
        s_written[i] = dt * f32(u[at]);
#else
        s_written[i] = f32(u[at]);
#endif
    }
}

// Where the thread's channel has the states before a chunk of a sequence.
fn saved_at(batch: u32, chunk: u32) -> u32 {
    return ((batch * params.chunks + chunk) * params.channels + channel(own)) * params.states;
}

// Saves states n .. n + 3 from place `at` on.
fn save(at: u32, n: u32, h: vec4<f32>) {
#for i in 0..4
    if n + {i}u < params.states {
        saved[at + n + {i}u] = h[{i}];
    }
#end
}
