// The gradients of a chunk from dO, dVn and the states at its ends. DELTA, by tiles of 64 columns of d_v:
//   Y = Tm V + W S    Vn = diag(beta) Y    dV = Tm^T diag(beta) dVn    dR = dVn - G^T dV    dbeta_i = dR_i . Y_i
// else Vn = V. Sums over the tiles of X1 = dO S^T, X2 = dV S^T, X3 = Vn D^T, dO Vn^T and dV Vn^T; then, with
// E = scale tril(dO Vn^T) * Gam and F = -stril(dV Vn^T) * Gam, of which X2, F and the second half of M are there if DELTA,
//   dQ = E K + scale diag(in) X1    dK = E^T Q + (F + F^T) K - diag(in) X2 + diag(out) X3
// and, GATES, dg from M = scale tril(dO Vn^T) * P - stril(dV Vn^T) * G (see the ops' documentation). By CHANNEL what the
// kernels of chunks/channel_* turn into dQ, dK and dgk: the terms in X1, X2 and X3, E and F without Gam, sums of a S * D. Subgroup s has
// the columns 16 s .. of d_k; dQ and dK have a row a head, SHARED or not. A workgroup a (chunk, h, b); grid (chunks, H, B).
// Workgroup memory at most 48,128 B. Source: as of `state_fwd_half_coop`.
const GATES: bool = true;
alias t_operands = f16;
alias t_squares = f16;
alias t_v = f16;
alias t_states = f16;
alias t_grad_o = f16;
alias t_grad_vn = f16;
alias t_grad_states = f16;
alias t_grad_q = f16;
alias t_grad_k = f16;
alias t_grad_v = f16;
#import lib/half_chunk
#import lib/half_decays
#import lib/half_factors

#if DELTA || !CHANNEL
@group(0) @binding(0) var<storage, read_write> operands: array<vec4<t_operands>>; // [B, H, chunks, OPERANDS]
#endif
@group(0) @binding(2) var<storage, read_write> table: array<Factors>; // see lib/half_factors
@group(0) @binding(3) var<storage, read_write> v: array<vec4<t_v>>; // [B, T HOUSEHOLDER, H, d_v]
@group(0) @binding(4) var<storage, read_write> states: array<vec4<t_states>>; // [B, H, chunks, d_k, d_v], padded
@group(0) @binding(5) var<storage, read_write> grad_o: array<vec4<t_grad_o>>; // [B, T, H, d_v]
@group(0) @binding(7) var<storage, read_write> grad_states: array<vec4<t_grad_states>>; // [B, H, chunks, d_k, d_v], padded
#if CHANNEL
@group(0) @binding(8) var<storage, read_write> query_sums: array<vec4<f32>>; // [B, T, H, d_k]
@group(0) @binding(9) var<storage, read_write> key_sums: array<vec4<f32>>; // [B, T, H, d_k]
@group(0) @binding(12) var<storage, read_write> through: array<f32>; // [B, H, chunks, d_k]
@group(0) @binding(13) var<storage, read_write> grad_pairs: array<vec4<f32>>; // [1 + DELTA, B, H, chunks, C, C]: E and F
#if DELTA
@group(0) @binding(14) var<storage, read_write> erase_sums: array<vec4<f32>>; // [B, T, H, d_k]
#endif
#else
@group(0) @binding(8) var<storage, read_write> grad_q: array<vec4<t_grad_q>>; // [B, T, H, d_k]
@group(0) @binding(9) var<storage, read_write> grad_k: array<vec4<t_grad_k>>; // [B, T HOUSEHOLDER, H, d_k]
#endif
#if DELTA
@group(0) @binding(1) var<storage, read_write> squares: array<vec4<t_squares>>; // [B, H, chunks, SQUARES]
@group(0) @binding(6) var<storage, read_write> grad_vn: array<vec4<t_grad_vn>>; // [B, T HOUSEHOLDER, H, d_v]
@group(0) @binding(10) var<storage, read_write> grad_v: array<vec4<t_grad_v>>; // [B, T HOUSEHOLDER, H, d_v]
@group(0) @binding(11) var<storage, read_write> grad_beta: array<f32>; // [B, T HOUSEHOLDER, H]
#endif
#if SCALAR
@group(0) @binding(12) var<storage, read_write> g: array<f32>; // [B, T, H]
#endif
#if GATES
@group(0) @binding(13) var<storage, read_write> overlaps: array<f32>; // [B, H, chunks, ceil(d_v / 64), 8]: parts of <S, D>
@group(0) @binding(14) var<storage, read_write> grad_g: array<f32>; // [B, T, H]
#endif
@group(0) @binding(15) var<uniform> params: Params;

// In `tile`, 64 rows of 64 columns each: dO, later E; V, then Vn; diag(beta) dVn, then dV, later F.
const OF_OUT: u32 = 0;
const OF_VN: u32 = 64 * ROW;
const OF_DV: u32 = 128 * ROW;
var<workgroup> tile: array<vec4<f16>, {128 * ROW + DELTA * 64 * ROW}>;
// 16 rows of 10 quads a subgroup; later 4 x 4 blocks; last 16 rows of all channels, of two matrices. VECTORS come after the
// first tiles.
const CHANNELS: u32 = {KEY_BLOCKS * 4 + 2}; // quads from row to row, so that rows start in different banks
const SECOND: u32 = {16 * (KEY_BLOCKS * 4 + 2)};
const PASSES: u32 = {(KEY_BLOCKS + 3) / 4}; // of a row's 16 threads
const VECTORS: u32 = 1088;
const DOTS: u32 = 5; // and the next: halves of dbeta
const ROW_SUMS: u32 = 7; // and the next two: X1 . q, X2 . k, X3 . k
var<workgroup> scratch: array<vec4<f32>, 1280>;

fn set_vector(vector: u32, i: u32, x: f32) {
    scratch[VECTORS + vector * 16u + i / 4u][i % 4u] = x;
}

fn vector_at(vector: u32, i: u32) -> f32 {
    return scratch[VECTORS + vector * 16u + i / 4u][i % 4u];
}

fn vector_quad(vector: u32, i4: u32) -> vec4<f32> {
    return scratch[VECTORS + vector * 16u + i4];
}

fn row_of(w: u32) -> u32 {
    return w / 256u * 16u + w % 64u / 4u;
}

fn column_of(w: u32) -> u32 {
    return w / 64u % 4u * 16u + w % 4u * 4u;
}
#if GATES

// Quad c of row i of K or Q in blocks from `first` on; 0 behind the channels.
fn channel_quad(first: u32, i: u32, c: u32) -> vec4<f32> {
    let inside = c < QUADS;
    return select(vec4(0.0), vec4<f32>(operands[first + select(0u, block_place(i, c, KEY_BLOCKS), inside)]), inside);
}

// A row's sum over channels from the parts of its 16 lanes.
fn set_row_sum(sum: u32, i: u32, part: f32, lane: u32) {
    var total = part;
    total += subgroupShuffleXor(total, 1u);
    total += subgroupShuffleXor(total, 2u);
    total += subgroupShuffleXor(total, 4u);
    total += subgroupShuffleXor(total, 8u);
    if lane == 0u {
        set_vector(ROW_SUMS + sum, i, total);
    }
}

// Sums down each column of the `blocks` rows of blocks in `scratch`, from a row to its block's last, in their place.
fn sum_columns(thread: u32, blocks: u32) {
    if thread < blocks * 16u {
        let at = thread / 16u * 256u + thread % 16u / 4u * 64u + thread % 4u;
        var sum = vec4(0.0);
        for (var r = 16u; r > 0u; r--) {
            sum += scratch[at + (r - 1u) * 4u];
            scratch[at + (r - 1u) * 4u] = sum;
        }
    }
}

// Part `part` of 4 of the sum over rows from `begin` on and columns before `end`, after `sum_columns`.
fn rectangle(part: u32, blocks: u32, begin: u32, end: u32) -> f32 {
    var total = 0.0;
    for (var c = part; 4u * c < end; c += 4u) {
        var sum = vec4(0.0);
        for (var b = begin / 16u; b < blocks; b++) {
            let r = select(0u, begin % 16u, b == begin / 16u);
            sum += scratch[b * 256u + c / 4u * 64u + r * 4u + c % 4u];
        }
        sum = select(vec4(0.0), sum, vec4(4u * c) + vec4(0u, 1u, 2u, 3u) < vec4(end));
        total += (sum.x + sum.y) + (sum.z + sum.w);
    }
    return total;
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
    let mine = subgroup * 160u;
#if DELTA || !CHANNEL
    let base = block() * OPERANDS;
#endif
    // Rows and quads of a lane, row of blocks and first quad of a subgroup as in `state_fwd_half_coop`.
    let r = thread % 32u / 4u;
    let c = thread % 4u * 2u;
    let i = subgroup / 2u;
    let j = subgroup % 2u * 8u;
#if DELTA
    let square = block() * SQUARES;
#for n in 0..2
    let strength{n} = strength_of(16u * i + {8 * n}u + r);
    var dot{n} = 0.0;
#end
#endif
#for n in 0..4
    var x{n} = FragC();
    var y{n} = FragC();
    var z{n} = FragC();
    var e{n} = FragC();
#end
    for (var first = 0u; first < state_quads(); first += 16u) {
        workgroupBarrier();
#for n in 0..2
        {
            let rows = {32 * n}u + thread / 8u;
#if DELTA
            let strength = strength_of(rows);
#endif
#for m in 0..2
            {
                let column = thread % 8u * 2u + {m}u;
                let output = in_outputs(rows, 4u * (first + column));
                let value = in_values(rows, 4u * (first + column));
                tile[OF_OUT + rows * ROW + column] = select(vec4<f16>(), vec4<f16>(grad_o[output.at]), output.ok);
                tile[OF_VN + rows * ROW + column] = select(vec4<f16>(), vec4<f16>(v[value.at]), value.ok);
#if DELTA
                let grad = vec4<f16>(strength * vec4<f32>(grad_vn[value.at]));
                tile[OF_DV + rows * ROW + column] = select(vec4<f16>(), grad, value.ok);
#endif
            }
#end
        }
#end
        workgroupBarrier();
#if DELTA
#for m in 0..2
        var a{m} = FragC();
        var b{m} = FragC();
#end
#for n in 0..4
        {
            let down = coopLoadT<FragA>(&squares[square + OF_TM + (i * 4u + {n}u) * 64u], 4u);
            let across = coopLoad<FragA>(&squares[square + OF_TM + ({4 * n}u + i) * 64u], 4u);
#for m in 0..2
            a{m} = coopMultiplyAdd(down, coopLoadT<FragB>(&tile[OF_VN + {n * 16 * ROW + m * 4}u + j], ROW), a{m});
            b{m} = coopMultiplyAdd(across, coopLoadT<FragB>(&tile[OF_DV + {n * 16 * ROW + m * 4}u + j], ROW), b{m});
#end
        }
#end
#for n in 0..KEY_BLOCKS
        {
            let w = coopLoadT<FragA>(&operands[base + OF_W + (i * KEY_BLOCKS + {n}u) * 64u], 4u);
            let from_state = state_place({16 * n}u, first + j);
#for m in 0..2
            a{m} = coopMultiplyAdd(w, coopLoadT<FragB>(&states[from_state + {64 * m}u], 4u), a{m});
#end
        }
#end
        coopStoreT(a0, &scratch[mine], 10u);
        coopStoreT(a1, &scratch[mine + 4u], 10u);
        workgroupBarrier();
#for n in 0..2
#for m in 0..2
        let error{n}_{m} = scratch[mine + ({8 * n}u + r) * 10u + c + {m}u];
        tile[OF_VN + (16u * i + {8 * n}u + r) * ROW + j + c + {m}u] = vec4<f16>(strength{n} * error{n}_{m});
#end
#end
        workgroupBarrier();
        coopStoreT(b0, &scratch[mine], 10u);
        coopStoreT(b1, &scratch[mine + 4u], 10u);
        workgroupBarrier();
#for n in 0..2
#for m in 0..2
        {
            let here = 16u * i + {8 * n}u + r;
            let grad = scratch[mine + ({8 * n}u + r) * 10u + c + {m}u];
            tile[OF_DV + here * ROW + j + c + {m}u] = vec4<f16>(grad);
            let spot = in_values(here, 4u * (first + j + c + {m}u));
            if spot.ok {
                grad_v[spot.at] = vec4<t_grad_v>(grad);
            }
        }
#end
#end
        workgroupBarrier();
#endif
        // Asked for before the products that come first.
#for n in 0..4
        var state{n} = FragB();
        var grad{n} = FragB();
#end
        for (var once = subgroup; once < KEY_BLOCKS; once = KEY_BLOCKS) {
#for n in 0..4
            state{n} = coopLoad<FragB>(&states[state_place(subgroup * 16u, first + {4 * n}u)], 4u);
            grad{n} = coopLoad<FragB>(&grad_states[state_place(subgroup * 16u, first + {4 * n}u)], 4u);
#end
        }
#if DELTA
        // G^T dV, for dbeta.
#for m in 0..2
        var f{m} = FragC();
#for n in 0..4
        f{m} = coopMultiplyAdd(
            coopLoad<FragA>(&squares[square + OF_G + ({4 * n}u + i) * 64u], 4u),
            coopLoadT<FragB>(&tile[OF_DV + {n * 16 * ROW + m * 4}u + j], ROW),
            f{m},
        );
#end
        coopStoreT(f{m}, &scratch[mine + {4 * m}u], 10u);
#end
        // Rows of dO Vn^T in the subgroups 0 to 3, of dV Vn^T in the others.
        let own = select(OF_DV, OF_OUT, subgroup < 4u) + subgroup % 4u * 16u * ROW;
#for n in 0..4
        {
            let left = coopLoadT<FragA>(&tile[own + {4 * n}u], ROW);
#for m in 0..4
            e{m} = coopMultiplyAdd(left, coopLoad<FragB>(&tile[OF_VN + {m * 16 * ROW + n * 4}u], ROW), e{m});
#end
        }
#end
#else
        // Half a row of blocks of dO Vn^T a subgroup.
        let columns = OF_VN + subgroup % 2u * 32u * ROW;
#for n in 0..4
        {
            let left = coopLoadT<FragA>(&tile[OF_OUT + i * 16u * ROW + {4 * n}u], ROW);
#for m in 0..2
            e{m} = coopMultiplyAdd(left, coopLoad<FragB>(&tile[columns + {m * 16 * ROW + n * 4}u], ROW), e{m});
#end
        }
#end
#endif
        for (var once = subgroup; once < KEY_BLOCKS; once = KEY_BLOCKS) {
#for n in 0..4
            {
#for m in 0..4
#if m < QUERY_BLOCKS
                x{m} = coopMultiplyAdd(coopLoadT<FragA>(&tile[OF_OUT + {m * 16 * ROW + n * 4}u], ROW), state{n}, x{m});
#endif
#if DELTA
                y{m} = coopMultiplyAdd(coopLoadT<FragA>(&tile[OF_DV + {m * 16 * ROW + n * 4}u], ROW), state{n}, y{m});
#endif
                z{m} = coopMultiplyAdd(coopLoadT<FragA>(&tile[OF_VN + {m * 16 * ROW + n * 4}u], ROW), grad{n}, z{m});
#end
            }
#end
        }
#if DELTA
        workgroupBarrier();
#for n in 0..2
#for m in 0..2
        {
            let spot = in_values(16u * i + {8 * n}u + r, 4u * (first + j + c + {m}u));
            let grad = vec4<f32>(grad_vn[spot.at]) - scratch[mine + ({8 * n}u + r) * 10u + c + {m}u];
            dot{n} += select(0.0, dot(grad, error{n}_{m}), spot.ok);
        }
#end
#end
#endif
    }
    // Results go to memory 16 rows at a time, a row in 16 threads. What they need of memory is asked for before the barriers.
    let r_out = thread / 16u;
    let c_out = thread % 16u;
#if GATES
#for n in 0..QUERY_BLOCKS
    let score{n} = vec4<f32>(operands[base + OF_P + thread + {256 * n}u]);
#end
#if DELTA
#for n in 0..4
    let lower{n} = vec4<f32>(squares[square + OF_G + thread + {256 * n}u]);
#end
#endif
#endif
    workgroupBarrier();
#if !CHANNEL
    if thread < 64u {
        set_vector(GATE, thread, log_decay_of(thread));
        set_vector(DECAY_IN_OF, thread, table[entry(DECAY_IN, thread)]);
        set_vector(DECAY_OUT_OF, thread, table[entry(DECAY_OUT, thread)]);
#if GATES
        set_vector(ROW_SUMS, thread, 0.0);
#endif
    }
#endif
#if DELTA
#for n in 0..2
    dot{n} += subgroupShuffleXor(dot{n}, 1u);
    dot{n} += subgroupShuffleXor(dot{n}, 2u);
    if thread % 4u == 0u {
        set_vector(DOTS + subgroup % 2u, 16u * i + {8 * n}u + r, dot{n});
    }
#end
#endif
    workgroupBarrier();
    if thread < 64u {
#if !CHANNEL
        set_block_sums(thread);
#endif
#if DELTA
        if is_row(thread) {
            grad_beta[row(thread)] = vector_at(DOTS, thread) + vector_at(DOTS + 1u, thread);
        }
#endif
    }
#if CHANNEL
#for m in 0..1 + DELTA
#if DELTA
    for (var once = subgroup; once / 4u == {m}u; once = 8u) {
#for n in 0..4
        coopStoreT(e{n}, &scratch[subgroup % 4u * 256u + {64 * n}u], 4u);
#end
    }
#else
#for n in 0..2
    coopStoreT(e{n}, &scratch[subgroup * 128u + {64 * n}u], 4u);
#end
#endif
    workgroupBarrier();
    for (var w = thread; w < 1024u; w += 256u) {
        let end = row_of(w);
        let column = column_of(w);
#if m == 0
        let below = vec4(column) + vec4(0u, 1u, 2u, 3u) <= vec4(end);
        let factor = params.scale;
        let pairs = block();
#else
        let below = vec4(column) + vec4(0u, 1u, 2u, 3u) < vec4(end);
        let factor = -1.0;
        let pairs = block() + count.x * count.y * count.z;
#endif
        grad_pairs[(pairs * 64u + end) * 16u + column / 4u] = select(vec4(0.0), factor * scratch[w], below);
    }
    workgroupBarrier();
#end
#for n in 0..4
    {
        let here = {16 * n}u + r_out;
#for m in 0..PASSES
        let decay_in{m} = decays_in(here, c_out + {16 * m}u);
        let decay_out{m} = decays_out(here, c_out + {16 * m}u);
#end
        for (var once = subgroup; once < KEY_BLOCKS; once = KEY_BLOCKS) {
            coopStoreT(x{n}, &scratch[4u * subgroup], CHANNELS);
            coopStoreT(z{n}, &scratch[SECOND + 4u * subgroup], CHANNELS);
        }
        workgroupBarrier();
#for m in 0..PASSES
        let at{m} = r_out * CHANNELS + c_out + {16 * m}u;
        let quad{m} = row(here) * (params.d_k / 4u) + c_out + {16 * m}u;
        let inside{m} = is_row(here) & (4u * (c_out + {16 * m}u) < params.d_k);
        if inside{m} {
            query_sums[quad{m}] = params.scale * decay_in{m} * scratch[at{m}];
            key_sums[quad{m}] = decay_out{m} * scratch[SECOND + at{m}];
        }
#end
        workgroupBarrier();
#if DELTA
        for (var once = subgroup; once < KEY_BLOCKS; once = KEY_BLOCKS) {
            coopStoreT(y{n}, &scratch[4u * subgroup], CHANNELS);
        }
        workgroupBarrier();
#for m in 0..PASSES
        if inside{m} {
            erase_sums[quad{m}] = -decay_in{m} * scratch[at{m}];
        }
#end
        workgroupBarrier();
#endif
    }
#end
    // Eight lanes a channel.
    for (var channel = thread / 8u; channel < KEY_BLOCKS * 16u; channel += 32u) {
        var sum = 0.0;
        for (var c = thread % 8u; c < state_quads(); c += 8u) {
            let at = state_place(channel, c);
            sum += dot(vec4<f32>(states[at]), vec4<f32>(grad_states[at]));
        }
        sum += subgroupShuffleXor(sum, 1u);
        sum += subgroupShuffleXor(sum, 2u);
        sum += subgroupShuffleXor(sum, 4u);
        if thread % 8u == 0u && channel < params.d_k {
            through[block() * params.d_k + channel] = decay_whole(channel) * sum;
        }
    }
#else
#if GATES
    // A token has four threads.
    let token_here = thread / 4u;
    var grad_gate = 0.0;
#endif
#if DELTA
    for (var once = subgroup; once < QUERY_BLOCKS; once = QUERY_BLOCKS) {
#for n in 0..4
        coopStoreT(e{n}, &scratch[subgroup * 256u + {64 * n}u], 4u);
#end
    }
#else
#for n in 0..2
    coopStoreT(e{n}, &scratch[subgroup * 128u + {64 * n}u], 4u);
#end
#endif
    workgroupBarrier();
#for n in 0..QUERY_BLOCKS
    {
        let w = thread + {256 * n}u;
        let end = last(row_of(w));
        let column = column_of(w);
        var x = vec4(0.0);
        if column <= end {
            let below = vec4(column) + vec4(0u, 1u, 2u, 3u) <= vec4(end);
            x = select(vec4(0.0), params.scale * scratch[w] * gam_quad(end, column), below);
        }
        tile[OF_OUT + row_of(w) * ROW + column / 4u] = vec4<f16>(x);
#if GATES
        scratch[w] *= score{n};
#endif
    }
#end
    workgroupBarrier();
#if GATES
    sum_columns(thread, QUERY_BLOCKS);
    workgroupBarrier();
    if token_here < QUERIES {
        grad_gate += rectangle(thread % 4u, QUERY_BLOCKS, token_here, token_here * HOUSEHOLDER);
    }
    workgroupBarrier();
#endif
#if DELTA
    for (var once = subgroup; once >= 4u; once = 0u) {
#for n in 0..4
        coopStoreT(e{n}, &scratch[(subgroup - 4u) * 256u + {64 * n}u], 4u);
#end
    }
    workgroupBarrier();
#for n in 0..4
    {
        let w = thread + {256 * n}u;
        let end = row_of(w);
        let column = column_of(w);
        var x = vec4(0.0);
        if column < end {
            let below = vec4(column) + vec4(0u, 1u, 2u, 3u) < vec4(end);
            x = select(vec4(0.0), -scratch[w] * gam_quad(end, column), below);
        }
        tile[OF_DV + end * ROW + column / 4u] = vec4<f16>(x);
#if GATES
        scratch[w] *= -lower{n};
#endif
    }
#end
    workgroupBarrier();
#if GATES
    sum_columns(thread, 4u);
    workgroupBarrier();
    if token_here < QUERIES {
        grad_gate += rectangle(thread % 4u, 4u, token_here * HOUSEHOLDER, token_here * HOUSEHOLDER);
    }
    workgroupBarrier();
#endif
#endif
#for n in 0..4
    var p{n} = FragC();
    var k{n} = FragC();
#end
    for (var once = subgroup; once < KEY_BLOCKS; once = KEY_BLOCKS) {
#for n in 0..4
        {
            let keys = coopLoadT<FragB>(&operands[base + OF_K + ({n}u * KEY_BLOCKS + subgroup) * 64u], 4u);
#for m in 0..4
#if m < QUERY_BLOCKS && n < (m + 1) * HOUSEHOLDER
            p{m} = coopMultiplyAdd(coopLoadT<FragA>(&tile[OF_OUT + {m * 16 * ROW + n * 4}u], ROW), keys, p{m});
#endif
#if DELTA && n <= m
            k{m} = coopMultiplyAdd(coopLoadT<FragA>(&tile[OF_DV + {m * 16 * ROW + n * 4}u], ROW), keys, k{m});
#endif
#if DELTA && n >= m
            k{m} = coopMultiplyAdd(coopLoad<FragA>(&tile[OF_DV + {n * 16 * ROW + m * 4}u], ROW), keys, k{m});
#endif
#end
        }
#end
#for n in 0..QUERY_BLOCKS
        {
            let queries = coopLoadT<FragB>(&operands[base + OF_Q + ({n}u * KEY_BLOCKS + subgroup) * 64u], 4u);
#for m in 0..4
#if m < (n + 1) * HOUSEHOLDER
            k{m} = coopMultiplyAdd(coopLoad<FragA>(&tile[OF_OUT + {n * 16 * ROW + m * 4}u], ROW), queries, k{m});
#endif
#end
        }
#end
    }
#for n in 0..QUERY_BLOCKS
    {
        let token = {16 * n}u + r_out;
#if GATES
#for m in 0..PASSES
        let query{m} = channel_quad(base + OF_Q, token, c_out + {16 * m}u);
#end
#endif
        for (var once = subgroup; once < KEY_BLOCKS; once = KEY_BLOCKS) {
            coopStoreT(p{n}, &scratch[4u * subgroup], CHANNELS);
            coopStoreT(x{n}, &scratch[SECOND + 4u * subgroup], CHANNELS);
        }
        workgroupBarrier();
        let factor = params.scale * vector_at(DECAY_IN_OF, last(token));
        var sum = 0.0;
#for m in 0..PASSES
        {
            let quad = c_out + {16 * m}u;
            let at = r_out * CHANNELS + quad;
            let through = factor * scratch[SECOND + at];
            let spot = spot_at(query(token) * params.d_k + 4u * quad, is_query(token) & (4u * quad < params.d_k));
            if spot.ok {
                grad_q[spot.at] = vec4<t_grad_q>(scratch[at] + through);
#if GATES
                sum += dot(through, query{m});
#endif
            }
        }
#end
#if GATES
        set_row_sum(0u, token, sum, c_out);
#endif
        workgroupBarrier();
    }
#end
#for n in 0..4
    {
        let here = {16 * n}u + r_out;
#if GATES
#for m in 0..PASSES
        let key{m} = channel_quad(base + OF_K, here, c_out + {16 * m}u);
#end
#endif
        for (var once = subgroup; once < KEY_BLOCKS; once = KEY_BLOCKS) {
            coopStoreT(k{n}, &scratch[4u * subgroup], CHANNELS);
#if DELTA
            coopStoreT(y{n}, &scratch[SECOND + 4u * subgroup], CHANNELS);
#else
            coopStoreT(z{n}, &scratch[SECOND + 4u * subgroup], CHANNELS);
#endif
        }
        workgroupBarrier();
#for m in 0..PASSES
        let at{m} = r_out * CHANNELS + c_out + {16 * m}u;
        let inner{m} = scratch[at{m}];
#if DELTA
        let erased{m} = vector_at(DECAY_IN_OF, here) * scratch[SECOND + at{m}];
#endif
#end
#if DELTA
        workgroupBarrier();
        for (var once = subgroup; once < KEY_BLOCKS; once = KEY_BLOCKS) {
            coopStoreT(z{n}, &scratch[SECOND + 4u * subgroup], CHANNELS);
        }
        workgroupBarrier();
#endif
        var erased = 0.0;
        var kept = 0.0;
#for m in 0..PASSES
        {
            let quad = c_out + {16 * m}u;
            let through = vector_at(DECAY_OUT_OF, here) * scratch[SECOND + at{m}];
            let spot = spot_at(row(here) * params.d_k + 4u * quad, is_row(here) & (4u * quad < params.d_k));
            if spot.ok {
#if DELTA
                grad_k[spot.at] = vec4<t_grad_k>(inner{m} - erased{m} + through);
#else
                grad_k[spot.at] = vec4<t_grad_k>(inner{m} + through);
#endif
#if GATES
#if DELTA
                erased += dot(erased{m}, key{m});
#endif
                kept += dot(through, key{m});
#endif
            }
        }
#end
#if GATES
        set_row_sum(1u, here, erased, c_out);
        set_row_sum(2u, here, kept, c_out);
#endif
        workgroupBarrier();
    }
#end
#if GATES
    let start = token_here * HOUSEHOLDER;
    for (var t = thread % 4u; t < 64u; t += 4u) {
        grad_gate += select(0.0, vector_at(ROW_SUMS, t), t >= token_here);
        grad_gate += select(vector_at(ROW_SUMS + 2u, t), -vector_at(ROW_SUMS + 1u, t), t >= start);
    }
    let tiles = (params.d_v + 63u) / 64u;
    var overlap = 0.0;
    for (var t = thread % 4u; t < tiles * 8u; t += 4u) {
        overlap += overlaps[block() * tiles * 8u + t];
    }
    grad_gate += vector_at(DECAY_IN_OF, CHUNK - 1u) * overlap;
    grad_gate += subgroupShuffleXor(grad_gate, 1u);
    grad_gate += subgroupShuffleXor(grad_gate, 2u);
    if thread % 4u == 0u && is_query(token_here) {
        grad_g[query(token_here)] = grad_gate;
    }
#endif
#endif
}
