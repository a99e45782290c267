// The gradients of a chunk's queries and keys from dO, the states at its ends, and Vn and dV of `error_bwd_half_coop` or, if
// not DELTA, Vn = V. By tiles of 16 to 64 columns of d_v, sums of X1 = dO S^T, X2 = dV S^T, X3 = Vn D^T, dO Vn^T and
// dV Vn^T; then, with E = scale tril(dO Vn^T) * Gam and F = -stril(dV Vn^T) * Gam, of which X2 and F are there if DELTA,
//   dQ = E K + scale diag(in) X1    dK = E^T Q + (F + F^T) K - diag(in) X2 + diag(out) X3
// and, GATES, of what decays from a row's token on and of what decays up to its own,
//   dg_t = sum_{i >= t} (q_i . dQ_i + k_i . (F K - diag(in) X2 - E^T Q - F^T K)_i) + sum_{i < t} k_i . (diag(out) X3)_i
//     + a <S, D>
// By CHANNEL what `channel_bwd_half_coop` turns into dQ, dK and dgk: scale X1, X2 and X3, E and F without Gam, and sums of
// a S * D. A subgroup has 16 columns of d_k; dQ and dK have a row a head, SHARED or not, and are of the rows
// before they had unit length where UNIT. A workgroup a (chunk, h, b); grid (chunks, H, B). Workgroup memory at most
// 47,104 B, 21,504 B if not DELTA or NARROW. Source: as of `state_fwd_half_coop`.
const GATES: bool = true;
alias t_operands = f16;
alias t_v = f16;
alias t_states = f16;
alias t_grad_o = f16;
alias t_grad_states = f16;
alias t_grad_q = f16;
alias t_grad_k = f16;
alias t_grad_v = f16;
alias t_query_sums = f16;
alias t_key_sums = f16;
alias t_erase_sums = f16;
alias t_grad_pairs = f16;
#import lib/half_chunk
#import lib/half_decays
#import lib/half_factors
#import lib/half_pairs

#if WIDE
alias a_grad_o = vec4<t_grad_o>;
alias a_grad_v = vec4<t_grad_v>;
#else
alias a_grad_o = t_grad_o;
alias a_grad_v = t_grad_v;
#endif
#if WIDE || DELTA
alias a_v = vec4<t_v>;
#else
alias a_v = t_v;
#endif
#if KEY_QUADS
alias a_grad_q = vec4<t_grad_q>;
alias a_grad_k = vec4<t_grad_k>;
#else
alias a_grad_q = t_grad_q;
alias a_grad_k = t_grad_k;
#endif

#if !CHANNEL
@group(0) @binding(0) var<storage, read_write> operands: array<vec4<t_operands>>; // [B, H, chunks, OPERANDS]
#endif
@group(0) @binding(2) var<storage, read_write> table: array<f32>; // see lib/half_factors
@group(0) @binding(3) var<storage, read_write> v: array<a_v>; // [B, T HOUSEHOLDER, H, d_v]: Vn
@group(0) @binding(4) var<storage, read_write> states: array<vec4<t_states>>; // [B, H, chunks, d_k, d_v], padded
@group(0) @binding(5) var<storage, read_write> grad_o: array<a_grad_o>; // [B, T, H, d_v]
@group(0) @binding(7) var<storage, read_write> grad_states: array<vec4<t_grad_states>>; // [B, H, chunks, d_k, d_v], padded
#if CHANNEL
@group(0) @binding(8) var<storage, read_write> query_sums: array<vec4<t_query_sums>>; // [B, T, H, d_k]
@group(0) @binding(9) var<storage, read_write> key_sums: array<vec4<t_key_sums>>; // [B, T, H, d_k]
@group(0) @binding(12) var<storage, read_write> through: array<f32>; // [B, H, chunks, d_k]
@group(0) @binding(13) var<storage, read_write> grad_pairs: array<vec4<t_grad_pairs>>; // see lib/half_pairs
#if DELTA
@group(0) @binding(14) var<storage, read_write> erase_sums: array<vec4<t_erase_sums>>; // [B, T, H, d_k]
#endif
#else
@group(0) @binding(8) var<storage, read_write> grad_q: array<a_grad_q>; // [B, T, H, d_k]
@group(0) @binding(9) var<storage, read_write> grad_k: array<a_grad_k>; // [B, T HOUSEHOLDER, H, d_k]
#endif
#if DELTA
@group(0) @binding(6) var<storage, read_write> grad_v: array<a_grad_v>; // [B, T HOUSEHOLDER, H, d_v]
#endif
#if SCALAR
@group(0) @binding(12) var<storage, read_write> g: array<f32>; // [B, T, H]
#endif
#if GATES
@group(0) @binding(13) var<storage, read_write> overlaps: array<f32>; // [B, H, chunks, tiles of 32 columns of S, 4]: parts of <S, D>
@group(0) @binding(14) var<storage, read_write> grad_g: array<f32>; // [B, T, H]
#endif
@group(0) @binding(15) var<uniform> params: Params;

// Narrow heads: each subgroup has half the rows.
const NARROW: bool = DELTA && !ROOMY;
const ACROSS: u32 = {8 - NARROW * 4}; // subgroups along d_k
const OWN: u32 = {4 - NARROW * 2}; // rows of blocks of a subgroup
const COLUMNS: u32 = {8 + ROOMY * 8 - NARROW * 4}; // quads of a row of a tile
const TILE_ROW: u32 = {COLUMNS + 2};
const LANES: u32 = {8 - NARROW * 4}; // that load a row
// In `tile`, 64 rows each: dO, Vn, dV. Later E, at 0, and F; NARROW, their blocks on and below the diagonal.
const OF_VN: u32 = {64 * TILE_ROW};
const OF_DV: u32 = {128 * TILE_ROW};
const PAIR_ROW: u32 = {ROW - NARROW * (ROW - 4)}; // quads from row to row of a block
const OF_F: u32 = {64 * ROW - NARROW * (64 * ROW - 640)};
const TILE: u32 = {(2 + DELTA) * 64 * TILE_ROW};
var<workgroup> tile: array<vec4<f16>, {TILE + (TILE < 1280) * (1280 - TILE)}>;
// Where K is: what decays by 1 to the chunk's end is K.
const OF_KEYS: u32 = {OF_K_OUT + DECAYS * (OF_K - OF_K_OUT)};
// HELD rows of 4 blocks; then two matrices of 16 rows of all channels or of 64 at a time.
const HELD: u32 = {2 + ROOMY * 2};
const PASSES: u32 = {(KEY_BLOCKS + 3) / 4}; // of a row's 16 threads
const TURNS: u32 = {PASSES + DELTA * (1 - PASSES)}; // in which channels come to `scratch`
const IN_TURN: u32 = {1 + DELTA * (PASSES - 1)}; // passes
const CHANNELS: u32 = {IN_TURN * 16 + 2}; // quads from row to row, so that rows start in different banks
const SECOND: u32 = {16 * CHANNELS};
const VECTORS: u32 = {576 + ROOMY * 512};
// A log decay below this passes on less than the sums round to, and its gradient has that factor.
const CLOSED: f32 = -20.0;
const ROW_SUMS: u32 = 5; // and the next two: by query, by key what counts from its row on, and up to it
var<workgroup> scratch: array<vec4<f32>, {VECTORS + 128}>;

fn set_vector(vector: u32, i: u32, x: f32) {
    scratch[VECTORS + vector * 16u + i / 4u][i % 4u] = x;
}

fn vector_at(vector: u32, i: u32) -> f32 {
    return scratch[VECTORS + vector * 16u + i / 4u][i % 4u];
}

fn vector_quad(vector: u32, i4: u32) -> vec4<f32> {
    return scratch[VECTORS + vector * 16u + i4];
}

fn output_quad(i: u32, c: u32) -> vec4<f16> {
    let spot = in_outputs(i, 4u * c);
#if WIDE
    return select(vec4<f16>(), vec4<f16>(grad_o[spot.at]), spot.ok);
#else
    let x = vec4(grad_o[spot.at], grad_o[spot.at + 1u], grad_o[spot.at + 2u], grad_o[spot.at + 3u]);
    return row_end(vec4<f16>(x), spot, 4u * c, params.d_v);
#endif
}

fn value_quad(i: u32, c: u32) -> vec4<f16> {
#if WIDE || DELTA
    let spot = in_errors(i, c);
    return select(vec4<f16>(), vec4<f16>(v[spot.at]), spot.ok);
#else
    let spot = in_values(i, 4u * c);
    let x = vec4(v[spot.at], v[spot.at + 1u], v[spot.at + 2u], v[spot.at + 3u]);
    return row_end(vec4<f16>(x), spot, 4u * c, params.d_v);
#endif
}
#if DELTA

fn error_quad(i: u32, c: u32) -> vec4<f16> {
    let spot = in_values(i, 4u * c);
#if WIDE
    return select(vec4<f16>(), vec4<f16>(grad_v[spot.at]), spot.ok);
#else
    let x = vec4(grad_v[spot.at], grad_v[spot.at + 1u], grad_v[spot.at + 2u], grad_v[spot.at + 3u]);
    return row_end(vec4<f16>(x), spot, 4u * c, params.d_v);
#endif
}
#endif
#if !CHANNEL

fn store_grad_q(row: u32, c: u32, x: vec4<f32>) {
#if KEY_QUADS
    grad_q[row * (params.d_k / 4u) + c] = a_grad_q(x);
#else
#for e in 0..4
    if 4u * c + {e}u < params.d_k {
        grad_q[row * params.d_k + 4u * c + {e}u] = a_grad_q(x[{e}]);
    }
#end
#endif
}

fn store_grad_k(row: u32, c: u32, x: vec4<f32>) {
#if KEY_QUADS
    grad_k[row * (params.d_k / 4u) + c] = a_grad_k(x);
#else
#for e in 0..4
    if 4u * c + {e}u < params.d_k {
        grad_k[row * params.d_k + 4u * c + {e}u] = a_grad_k(x[{e}]);
    }
#end
#endif
}
#endif

// Whether a block of channels comes to `scratch` in a turn, and where its rows begin there.
fn in_turn(channels: u32, turn: u32) -> bool {
    return channels < KEY_BLOCKS && (DELTA || channels / 4u == turn);
}

fn place_in_turn(channels: u32) -> u32 {
    return select(channels % 4u, channels, DELTA) * 4u;
}

// Where a block of F begins, and one of E, which has whole rows of blocks where a token has several writes.
fn triangle_block(i: u32, j: u32) -> u32 {
#if NARROW
    return (i * (i + 1u) / 2u + j) * 64u;
#else
    return i * 16u * ROW + j * 4u;
#endif
}

fn pair_block(i: u32, j: u32) -> u32 {
#if NARROW && HOUSEHOLDER > 1
    return (i * 4u + j) * 64u;
#else
    return triangle_block(i, j);
#endif
}

fn place_in_block(w: u32) -> u32 {
    return w % 64u / 4u * PAIR_ROW + w % 4u;
}
#if GATES || UNIT

// Quad c of row i of K or Q in blocks from `first` on; 0 behind the channels.
fn channel_quad(first: u32, i: u32, c: u32) -> vec4<f32> {
    let inside = c < QUADS;
    return select(vec4(0.0), vec4<f32>(operands[first + select(0u, block_place(i, c, KEY_BLOCKS), inside)]), inside);
}

// Sum of a row's 16 lanes.
fn lane_total(part: f32) -> f32 {
    var total = part;
    total += subgroupShuffleXor(total, 1u);
    total += subgroupShuffleXor(total, 2u);
    total += subgroupShuffleXor(total, 4u);
    total += subgroupShuffleXor(total, 8u);
    return total;
}
#endif
#if GATES

fn add_row_sum(sum: u32, i: u32, part: f32, lane: u32) {
    if lane == 0u {
        set_vector(ROW_SUMS + sum, i, vector_at(ROW_SUMS + sum, i) + part);
    }
}
#endif

@compute @workgroup_size(256)
fn chunk_bwd_half_coop(
    @builtin(workgroup_id) wg: vec3<u32>,
#if CHANNEL && DELTA
    @builtin(num_workgroups) count: vec3<u32>,
#endif
    @builtin(local_invocation_index) thread: u32,
) {
    set_chunk(wg);
    let subgroup = thread / 32u;
    // A subgroup's block of channels, maybe one that another stores, and the first of its rows.
    let channels = min(subgroup % ACROSS, {KEY_BLOCKS - 1}u);
    let own_rows = subgroup / ACROSS * {OWN * 16}u;
#if !CHANNEL
    let base = plain_block() * OPERANDS;
#endif
#for n in 0..OWN
    var x{n} = FragC();
    var y{n} = FragC();
    var z{n} = FragC();
#end
#for n in 0..4
    var e{n} = FragC();
#end
#if CHANNEL
    var overlap = FragC(); // D S^T, of which the diagonal counts
#endif
    let rows = thread / LANES;
    let column = thread % LANES * {COLUMNS / LANES}u;
    for (var first = 0u; first < state_quads(); first += COLUMNS) {
#for n in 0..LANES / 4
#for m in 0..COLUMNS / LANES
        let out{n}_{m} = output_quad({256 / LANES * n}u + rows, first + column + {m}u);
        let vn{n}_{m} = value_quad({256 / LANES * n}u + rows, first + column + {m}u);
#if DELTA
        let dv{n}_{m} = error_quad({256 / LANES * n}u + rows, first + column + {m}u);
#endif
#end
#end
#for n in 0..COLUMNS / 4
        let state{n} = coopLoad<FragB>(&states[state_place(channels * 16u, first + {4 * n}u)], 4u);
        let grad{n} = coopLoad<FragB>(&grad_states[state_place(channels * 16u, first + {4 * n}u)], 4u);
#end
#if CHANNEL
#for n in 0..COLUMNS / 4
        {
            let rows_of_grad = coopLoadT<FragA>(&grad_states[state_place(channels * 16u, first + {4 * n}u)], 4u);
            overlap = coopMultiplyAdd(rows_of_grad, state{n}, overlap);
        }
#end
#endif
        workgroupBarrier();
#for n in 0..LANES / 4
#for m in 0..COLUMNS / LANES
        {
            let at = ({256 / LANES * n}u + rows) * TILE_ROW + column + {m}u;
            tile[at] = out{n}_{m};
            tile[OF_VN + at] = vn{n}_{m};
#if DELTA
            tile[OF_DV + at] = dv{n}_{m};
#endif
        }
#end
#end
        workgroupBarrier();
#if DELTA
        // Rows of dO Vn^T in the subgroups 0 to 3, of dV Vn^T in the others.
        let own = select(OF_DV, 0u, subgroup < 4u) + subgroup % 4u * 16u * TILE_ROW;
        let across = OF_VN;
#else
        // Half a row of blocks of dO Vn^T a subgroup.
        let own = subgroup / 2u * 16u * TILE_ROW;
        let across = OF_VN + subgroup % 2u * 32u * TILE_ROW;
#endif
#for n in 0..COLUMNS / 4
        {
            let left = coopLoadT<FragA>(&tile[own + {4 * n}u], TILE_ROW);
#for m in 0..2 + 2 * DELTA
            e{m} = coopMultiplyAdd(left, coopLoad<FragB>(&tile[across + {m * 16}u * TILE_ROW + {4 * n}u], TILE_ROW), e{m});
#end
        }
#end
#for n in 0..COLUMNS / 4
#for m in 0..OWN
        {
            let at = (own_rows + {m * 16}u) * TILE_ROW + {4 * n}u;
#if m < QUERY_BLOCKS
            x{m} = coopMultiplyAdd(coopLoadT<FragA>(&tile[at], TILE_ROW), state{n}, x{m});
#endif
#if DELTA
            y{m} = coopMultiplyAdd(coopLoadT<FragA>(&tile[OF_DV + at], TILE_ROW), state{n}, y{m});
#endif
            z{m} = coopMultiplyAdd(coopLoadT<FragA>(&tile[OF_VN + at], TILE_ROW), grad{n}, z{m});
        }
#end
#end
    }
    // Results go to memory 16 rows at a time, a row in 16 threads. What they need of memory is asked for before the barriers.
    let r_out = thread / 16u;
    let c_out = thread % 16u;
    workgroupBarrier();
#if !CHANNEL
    if thread < 64u {
        set_vector(GATE, thread, log_decay_of(thread));
        set_vector(DECAY_IN_OF, thread, table[entry(DECAY_IN, thread)]);
        set_vector(DECAY_OUT_OF, thread, table[entry(DECAY_OUT, thread)]);
#if GATES
#for n in 0..3
        set_vector(ROW_SUMS + {n}u, thread, 0.0);
#end
#endif
    }
    workgroupBarrier();
    if thread < 64u {
        set_block_sums(thread);
    }
#endif
#if CHANNEL
#for m in 0..1 + DELTA
#for h in 0..2 - DELTA
#if DELTA
    for (var once = subgroup; once / 4u == {m}u; once = 8u) {
#for n in 0..4
        coopStoreT(e{n}, &scratch[subgroup % 4u * 256u + {64 * n}u], 4u);
#end
    }
#else
    for (var once = subgroup; once / 4u == {h}u; once = 8u) {
#for n in 0..2
        coopStoreT(e{n}, &scratch[subgroup % 4u * 128u + {64 * n}u], 4u);
#end
    }
#endif
    workgroupBarrier();
    for (var w = thread; w < HELD * 256u; w += 256u) {
        let end = {16 * h}u * HELD + row_of(w);
        let column = column_of(w);
#if m == 0
        let below = vec4(column) + vec4(0u, 1u, 2u, 3u) <= vec4(end);
        let factor = params.scale;
        let pairs = block() * PAIRS;
#else
        let below = vec4(column) + vec4(0u, 1u, 2u, 3u) < vec4(end);
        let factor = -1.0;
        let pairs = (block() + count.x * count.y * count.z) * PAIRS;
#endif
        let pair = vec4<t_grad_pairs>(select(vec4(0.0), factor * scratch[w], below));
        grad_pairs[pairs + {h * HELD * 256}u + w] = pair;
        if column / 16u == end / 16u {
            let zero = vec4<t_grad_pairs>();
            let place = pairs + OF_LEVELS + end / 16u * 64u + w % 64u;
            grad_pairs[place] = select(zero, pair, (column / 8u == end / 8u) & (column / 4u != end / 4u));
            grad_pairs[place + 256u] = select(zero, pair, column / 8u != end / 8u);
        }
    }
    workgroupBarrier();
#end
#end
#for n in 0..4
#for o in 0..TURNS
    {
        let here = {16 * n}u + r_out;
#for m in 0..IN_TURN
        let quad{m} = c_out + {16 * (o + m)}u;
        let at{m} = r_out * CHANNELS + c_out + {16 * m}u;
        let spot{m} = row(here) * (params.d_k / 4u) + quad{m};
        let inside{m} = is_row(here) & (4u * quad{m} < params.d_k);
#end
        for (var once = subgroup; in_turn(once, {o}u); once = 8u) {
            coopStoreT(x{n}, &scratch[place_in_turn(subgroup)], CHANNELS);
            coopStoreT(z{n}, &scratch[SECOND + place_in_turn(subgroup)], CHANNELS);
        }
        workgroupBarrier();
#for m in 0..IN_TURN
        if inside{m} {
            query_sums[spot{m}] = vec4<t_query_sums>(params.scale * scratch[at{m}]);
            key_sums[spot{m}] = vec4<t_key_sums>(scratch[SECOND + at{m}]);
        }
#end
        workgroupBarrier();
#if DELTA
        for (var once = subgroup; in_turn(once, {o}u); once = 8u) {
            coopStoreT(y{n}, &scratch[place_in_turn(subgroup)], CHANNELS);
        }
        workgroupBarrier();
#for m in 0..IN_TURN
        if inside{m} {
            erase_sums[spot{m}] = vec4<t_erase_sums>(scratch[at{m}]);
        }
#end
        workgroupBarrier();
#endif
    }
#end
#end
    for (var once = subgroup; once < KEY_BLOCKS; once = KEY_BLOCKS) {
        coopStoreT(overlap, &scratch[subgroup * 64u], 4u);
    }
    workgroupBarrier();
    if thread < params.d_k {
        let sum = scratch[thread * 4u + thread % 16u / 4u][thread % 4u];
        through[block() * params.d_k + thread] = decay_whole(thread) * sum;
    }
#else
#if ROOMY
    // Asked for before the barriers; there are no registers for that with two workgroups a multiprocessor.
#for n in 0..4
    let keys{n} = coopLoadT<FragB>(&operands[base + OF_KEYS + ({n}u * KEY_BLOCKS + channels) * 64u], 4u);
#end
#for n in 0..QUERY_BLOCKS
    let queries{n} = coopLoadT<FragB>(&operands[base + OF_Q + ({n}u * KEY_BLOCKS + channels) * 64u], 4u);
#end
#endif
#for h in 0..4 / HELD
#if h * HELD < QUERY_BLOCKS
#if DELTA
    for (var once = subgroup; once / HELD == {h}u && once < QUERY_BLOCKS; once = 8u) {
#for n in 0..4
        coopStoreT(e{n}, &scratch[subgroup % HELD * 256u + {64 * n}u], 4u);
#end
    }
#else
    for (var once = subgroup; once / 4u == {h}u; once = 8u) {
#for n in 0..2
        coopStoreT(e{n}, &scratch[subgroup % 4u * 128u + {64 * n}u], 4u);
#end
    }
#endif
    workgroupBarrier();
    for (var w = thread; w < min(HELD, QUERY_BLOCKS) * 256u; w += 256u) {
        let here = {16 * h}u * HELD + row_of(w);
        let end = last(here);
        let column = column_of(w);
        if HOUSEHOLDER > 1u || column / 16u <= here / 16u {
            let below = vec4(column) + vec4(0u, 1u, 2u, 3u) <= vec4(end);
            let x = select(vec4(0.0), params.scale * scratch[w] * gam_quad(end, column), below);
            tile[pair_block(here / 16u, column / 16u) + place_in_block(w)] = vec4<f16>(x);
        }
    }
    workgroupBarrier();
#endif
#end
#if DELTA
#for h in 0..4 / HELD
    for (var once = subgroup; once / HELD == {4 / HELD + h}u; once = 0u) {
#for n in 0..4
        coopStoreT(e{n}, &scratch[subgroup % HELD * 256u + {64 * n}u], 4u);
#end
    }
    workgroupBarrier();
    for (var w = thread; w < HELD * 256u; w += 256u) {
        let end = {16 * h}u * HELD + row_of(w);
        let column = column_of(w);
        if column / 16u <= end / 16u {
            let below = vec4(column) + vec4(0u, 1u, 2u, 3u) < vec4(end);
            let x = select(vec4(0.0), -scratch[w] * gam_quad(end, column), below);
            tile[OF_F + triangle_block(end / 16u, column / 16u) + place_in_block(w)] = vec4<f16>(x);
        }
    }
    workgroupBarrier();
#end
#endif
    // Rows of blocks in turn: one is multiplied before the one ahead of it leaves.
#for u in 0..QUERY_BLOCKS * TURNS + 1
#if u < QUERY_BLOCKS * TURNS
#if UNIT
    let unit{u} = table[entry(UNIT_QUERY, {u / TURNS * 16}u + r_out)];
#endif
#if GATES || UNIT
#for m in 0..IN_TURN
    let query{u}_{m} = channel_quad(base + OF_Q, {u / TURNS * 16}u + r_out, c_out + {16 * (u % TURNS + m)}u);
#end
#endif
#endif
#if u < QUERY_BLOCKS * TURNS && u % TURNS == 0
    var p{u / TURNS} = FragC();
#for m in 0..4
#if m < (u / TURNS + 1) * HOUSEHOLDER
    p{u / TURNS} = coopMultiplyAdd(
        coopLoadT<FragA>(&tile[pair_block({u / TURNS}u, {m}u)], PAIR_ROW),
#if ROOMY
        keys{m},
#else
        coopLoadT<FragB>(&operands[base + OF_KEYS + ({m}u * KEY_BLOCKS + channels) * 64u], 4u),
#endif
        p{u / TURNS},
    );
#endif
#end
#endif
#if u > 0
    {
        let token = {(u - 1) / TURNS * 16}u + r_out;
        let factor = params.scale * vector_at(DECAY_IN_OF, last(token));
        // Of the gradient along the query.
        var along = 0.0;
#for m in 0..IN_TURN
        let at{m} = r_out * CHANNELS + c_out + {16 * m}u;
        let quad{m} = c_out + {16 * ((u - 1) % TURNS + m)}u;
        let inside{m} = is_query(token) & (4u * quad{m} < params.d_k);
        let grad{m} = select(vec4(0.0), scratch[at{m}] + factor * scratch[SECOND + at{m}], inside{m});
#if GATES || UNIT
        along += dot(grad{m}, query{u - 1}_{m});
#endif
#end
#if GATES || UNIT
        along = lane_total(along);
#endif
#if GATES
        add_row_sum(0u, token, along, c_out);
#endif
#for m in 0..IN_TURN
        if inside{m} {
#if UNIT
            store_grad_q(query(token), quad{m}, unit{u - 1} * (grad{m} - along * query{u - 1}_{m}));
#else
            store_grad_q(query(token), quad{m}, grad{m});
#endif
        }
#end
    }
    workgroupBarrier();
#endif
#if u < QUERY_BLOCKS * TURNS
    for (var once = subgroup - {u / TURNS / OWN * ACROSS}u; in_turn(once, {u % TURNS}u); once = 8u) {
        coopStoreT(p{u / TURNS}, &scratch[place_in_turn(channels)], CHANNELS);
        coopStoreT(x{u / TURNS % OWN}, &scratch[SECOND + place_in_turn(channels)], CHANNELS);
    }
    workgroupBarrier();
#endif
#end
#for u in 0..4 * TURNS + 1
#if u < 4 * TURNS
#if UNIT
    let unit_key{u} = table[entry(UNIT_KEY, {u / TURNS * 16}u + r_out)];
#endif
#if GATES || UNIT
#for m in 0..IN_TURN
    let key{u}_{m} = channel_quad(base + OF_KEYS, {u / TURNS * 16}u + r_out, c_out + {16 * (u % TURNS + m)}u);
#end
#endif
#endif
#if u < 4 * TURNS && u % TURNS == 0
    // F K apart only if GATES.
    var early{u / TURNS} = FragC();
    var late{u / TURNS} = FragC();
#for m in 0..QUERY_BLOCKS
#if u / TURNS < (m + 1) * HOUSEHOLDER
    late{u / TURNS} = coopMultiplyAdd(
        coopLoad<FragA>(&tile[pair_block({m}u, {u / TURNS}u)], PAIR_ROW),
#if ROOMY
        queries{m},
#else
        coopLoadT<FragB>(&operands[base + OF_Q + ({m}u * KEY_BLOCKS + channels) * 64u], 4u),
#endif
        late{u / TURNS},
    );
#endif
#end
#if DELTA
#for m in 0..4
    {
#if ROOMY
        let key = keys{m};
#else
        let key = coopLoadT<FragB>(&operands[base + OF_KEYS + ({m}u * KEY_BLOCKS + channels) * 64u], 4u);
#endif
#if m >= u
        late{u} = coopMultiplyAdd(coopLoad<FragA>(&tile[OF_F + triangle_block({m}u, {u}u)], PAIR_ROW), key, late{u});
#endif
#if m <= u
        early{u} = coopMultiplyAdd(coopLoadT<FragA>(&tile[OF_F + triangle_block({u}u, {m}u)], PAIR_ROW), key, early{u});
#endif
    }
#end
#if !GATES
    early{u} = early{u} + late{u};
#endif
#endif
#endif
#if u > 0
    {
        let here = {(u - 1) / TURNS * 16}u + r_out;
        var from_here = 0.0;
        var up_to_here = 0.0;
        var along = 0.0;
#for m in 0..IN_TURN
        let at{m} = r_out * CHANNELS + c_out + {16 * m}u;
        let quad{m} = c_out + {16 * ((u - 1) % TURNS + m)}u;
        let inside{m} = is_row(here) & (4u * quad{m} < params.d_k);
#if GATES || !DELTA
        let late{m} = scratch[at{m}];
#else
        let late{m} = vec4(0.0);
#endif
#if DELTA
        let early{m} = early{u - 1}_{m};
#else
        let early{m} = vec4(0.0);
#endif
        let through{m} = vector_at(DECAY_OUT_OF, here) * scratch[SECOND + at{m}];
        let grad{m} = select(vec4(0.0), early{m} + late{m} + through{m}, inside{m});
#if GATES
        from_here += select(0.0, dot(early{m} - late{m}, key{u - 1}_{m}), inside{m});
        up_to_here += select(0.0, dot(through{m}, key{u - 1}_{m}), inside{m});
#endif
#if UNIT
        along += dot(grad{m}, key{u - 1}_{m});
#endif
#end
#if GATES
        add_row_sum(1u, here, lane_total(from_here), c_out);
        add_row_sum(2u, here, lane_total(up_to_here), c_out);
#endif
#if UNIT
        along = lane_total(along);
#endif
#for m in 0..IN_TURN
        if inside{m} {
#if UNIT
            store_grad_k(row(here), quad{m}, unit_key{u - 1} * (grad{m} - along * key{u - 1}_{m}));
#else
            store_grad_k(row(here), quad{m}, grad{m});
#endif
        }
#end
    }
    workgroupBarrier();
#endif
#if u < 4 * TURNS
#if DELTA
    for (var once = subgroup - {u / OWN * ACROSS}u; once < KEY_BLOCKS; once = KEY_BLOCKS) {
        coopStoreT(early{u}, &scratch[4u * channels], CHANNELS);
        coopStoreT(y{u % OWN}, &scratch[SECOND + 4u * channels], CHANNELS);
    }
    workgroupBarrier();
#for m in 0..IN_TURN
    let at{u}_{m} = r_out * CHANNELS + c_out + {16 * m}u;
    let decay{u}_{m} = vector_at(DECAY_IN_OF, {u / TURNS * 16}u + r_out);
    let early{u}_{m} = scratch[at{u}_{m}] - decay{u}_{m} * scratch[SECOND + at{u}_{m}];
#end
    workgroupBarrier();
#endif
    for (var once = subgroup - {u / TURNS / OWN * ACROSS}u; in_turn(once, {u % TURNS}u); once = 8u) {
#if GATES || !DELTA
        coopStoreT(late{u / TURNS}, &scratch[place_in_turn(channels)], CHANNELS);
#endif
        coopStoreT(z{u / TURNS % OWN}, &scratch[SECOND + place_in_turn(channels)], CHANNELS);
    }
    workgroupBarrier();
#endif
#end
#if GATES
    // A token has four threads.
    let token_here = thread / 4u;
    var grad_gate = 0.0;
    for (var t = thread % 4u; t < 64u; t += 4u) {
        grad_gate += select(0.0, vector_at(ROW_SUMS, t), t >= token_here);
        grad_gate += select(vector_at(ROW_SUMS + 2u, t), vector_at(ROW_SUMS + 1u, t), t >= token_here * HOUSEHOLDER);
    }
    let parts = state_quads() / 2u;
    var overlap = 0.0;
    for (var t = thread % 4u; t < parts; t += 4u) {
        overlap += overlaps[block() * parts + t];
    }
    grad_gate += vector_at(DECAY_IN_OF, CHUNK - 1u) * overlap;
    grad_gate += subgroupShuffleXor(grad_gate, 1u);
    grad_gate += subgroupShuffleXor(grad_gate, 2u);
    if thread % 4u == 0u && is_query(token_here) {
        let open = vector_at(GATE, token_here * HOUSEHOLDER) >= CLOSED;
        grad_g[query(token_here)] = select(0.0, grad_gate, open);
    }
#endif
#endif
}
