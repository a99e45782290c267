// Pairs of rows of a chunk with a decay by channel, as products of matrices. Of two rows whose numbers differ first in bit l, a
// decay between them splits at the middle of their group of 2^(l+1): it is one from the earlier row to there times one from
// there to the later row. So at level l each row has one factor, at most 1, and all pairs are a product of rows with theirs.
// At levels 0 and 1 a thread has both rows: it has four of a quad of channels, a subgroup 16 of 32 channels, 256 threads all
// of 64 channels. Imports: lib/half_chunk; the importing kernel has a binding `gk` of vec4<f32>, [B, T, H, d_k], and HALF_SUMS
// quads of f32 for each 64 channels.
const HALVES: u32 = {1 + (KEY_BLOCKS > 4)}; // of the channels, 64 each
const THREADS: u32 = {256 * HALVES};
var<private> side: u32; // the thread's half
var<private> group: u32; // of four rows, from 4 group on
var<private> quad: u32; // in the half
#for r in 0..4
var<private> decay{r}: vec4<f32>;
var<private> factor{r}: vec4<f32>;
#end
var<private> is_later: bool; // at the level of the factors
// Decays over other groups of the same 16 rows: the other of two, all before the own one, all after it.
var<private> beside: vec4<f32>;
var<private> before: vec4<f32>;
var<private> after: vec4<f32>;

const HALF_TILE: u32 = {64 * ROW};
var<workgroup> tile: array<vec4<f16>, {HALVES * HALF_TILE}>;
// The last 64 of a half: decays over each 16 rows.
var<workgroup> sums: array<vec4<f32>, {HALVES * HALF_SUMS}>;

fn set_place(thread: u32) {
    side = thread / 256u;
    group = thread / 64u % 4u * 4u + thread / 8u % 4u;
    quad = thread / 32u % 2u * 8u + thread % 8u;
}

// The decay at a place in the channels of a row; 1 for padding.
fn decay_at(spot: Spot) -> vec4<f32> {
    return exp(select(vec4(0.0), gk[spot.at], spot.ok));
}

fn total_place(rows: u32) -> u32 {
    return (side + 1u) * HALF_SUMS - 64u + 16u * rows + quad;
}

fn set_totals() {
    let one = vec4(1.0);
    let own = decay0 * decay1 * decay2 * decay3;
    beside = subgroupShuffleXor(own, 8u);
    let two = own * beside;
    let others = subgroupShuffleXor(two, 16u);
    before = select(one, beside, group % 2u == 1u) * select(one, others, group % 4u > 1u);
    after = select(beside, one, group % 2u == 1u) * select(others, one, group % 4u > 1u);
    if group % 4u == 0u {
        sums[total_place(group / 4u)] = two * others;
    }
}

// Factors on to the thread's rows from behind a row that `start` decays from, up to its first ..
fn set_later_factors(start: vec4<f32>) {
    factor0 = start * decay0;
#for r in 1..4
    factor{r} = factor{r - 1} * decay{r};
#end
}

// .. and from the thread's rows to one that its last decays to by `end`.
fn set_earlier_factors(end: vec4<f32>) {
    factor3 = end;
#for r in 1..4
    factor{3 - r} = factor{4 - r} * decay{4 - r};
#end
}

// From the chunk's start, and to its end.
fn set_factors_in() {
    var start = before;
    for (var rows = 0u; rows < group / 4u; rows++) {
        start *= sums[total_place(rows)];
    }
    set_later_factors(start);
}

fn set_factors_out() {
    var end = after;
    for (var rows = group / 4u + 1u; rows < 4u; rows++) {
        end *= sums[total_place(rows)];
    }
    set_earlier_factors(end);
}

// Of a level from 2 on.
fn set_factors(level: u32) {
    is_later = (group >> (level - 2u)) % 2u == 1u;
    var reach = select(after, before, is_later);
    if level == 2u {
        reach = vec4(1.0);
    } else if level == 3u {
        reach = select(vec4(1.0), beside, (group % 2u == 1u) == is_later);
    } else if level == 5u && (group / 4u % 2u == 1u) == is_later {
        reach *= sums[total_place(group / 4u ^ 1u)];
    }
    if is_later {
        set_later_factors(reach);
    } else {
        set_earlier_factors(reach);
    }
}
