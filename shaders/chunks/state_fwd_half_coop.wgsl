// The recurrence over chunks with the state in registers: with Vn = V or, DELTA, Vn = diag(beta) Y of
//   Y = V + Zn diag(beta) V + W S,
//   O = scale diag(in) Q S + scale P Vn    S <- a S + (diag(out) K)^T Vn
// and S of each chunk's start to memory. Subgroup s keeps the rows 16 s .. and 64 + 16 s .. of S in f32 and computes a row of
// blocks of Y and O. A workgroup a (32 columns of S, h, b), padding too, sequential over chunks; grid (state_quads() / 8, H, B).
// Workgroup memory at most 24,576 B, so that a multiprocessor has two. Source: Yang et al. 2024, "Gated Linear Attention", section 4, and
// "Parallelizing Linear Transformers with the Delta Rule", section 3.
alias t_operands = f16;
alias t_zn = f16;
alias t_states = f16;
alias t_v = f16;
alias t_o = f16;
alias t_kept = f16;
#import lib/half_chunk
#import lib/half_factors

#if WIDE
alias a_v = vec4<t_v>;
alias a_o = vec4<t_o>;
#else
alias a_v = t_v;
alias a_o = t_o;
#endif

@group(0) @binding(0) var<storage, read_write> operands: array<vec4<t_operands>>; // [B, H, chunks, OPERANDS]
#if DELTA
@group(0) @binding(1) var<storage, read_write> zn: array<vec4<t_zn>>; // [B, H, chunks, C, C], in blocks
#endif
@group(0) @binding(2) var<storage, read_write> table: array<f32>; // see lib/half_factors
@group(0) @binding(3) var<storage, read_write> v: array<a_v>; // [B, T HOUSEHOLDER, H, d_v]
@group(0) @binding(4) var<storage, read_write> o: array<a_o>; // [B, T, H, d_v]
@group(0) @binding(5) var<storage, read_write> states: array<vec4<t_states>>; // [B, H, chunks, d_k, d_v], padded
#if CHANNEL
@group(0) @binding(6) var<storage, read_write> kept: array<vec4<t_kept>>; // see lib/half_chunk
#endif
@group(0) @binding(7) var<uniform> params: Params;

const HELD: u32 = {(KEY_BLOCKS + 3) / 4}; // rows of blocks of the state that a subgroup keeps
const O_BLOCKS: u32 = {1 + QUERY_BLOCKS / 4}; // blocks of O that a subgroup computes
const TILE_ROW: u32 = 10; // quads of a row of 32 columns, and two more so that rows start in different banks
const VALUES: u32 = {KEY_BLOCKS * 160}; // in `tile`: the state, then V or diag(beta) V, later Vn
var<workgroup> tile: array<vec4<f16>, {KEY_BLOCKS * 160 + 640}>;
const SCRATCH_ROW: u32 = 9;
var<workgroup> scratch: array<vec4<f32>, 576>; // 16 rows a subgroup

fn value_quad(i: u32, c: u32) -> vec4<f16> {
    let spot = in_values(i, 4u * c);
#if WIDE
    return select(vec4<f16>(), vec4<f16>(v[spot.at]), spot.ok);
#else
    let x = vec4(v[spot.at], v[spot.at + 1u], v[spot.at + 2u], v[spot.at + 3u]);
    return row_end(vec4<f16>(x), spot, 4u * c, params.d_v);
#endif
}

@compute @workgroup_size(128)
fn state_fwd_half_coop(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    head = wg.y;
    batch = wg.z;
    let subgroup = thread / 32u;
    let mine = subgroup * 16u * SCRATCH_ROW;
    // A lane's rows r and r + 8 of a block of 16 x 32, and its quads c and c + 1 there.
    let r = thread % 32u / 4u;
    let c = thread % 4u * 2u;
    // The subgroup's row of blocks of O, maybe one that another stores, and its first quad there.
    let own_o = subgroup / {2 / O_BLOCKS}u;
    let i_o = min(own_o, {QUERY_BLOCKS - 1}u);
    let j_o = subgroup % {2 / O_BLOCKS}u * 4u;
    let first = wg.x * 8u;
#for b in 0..HELD
#for m in 0..2
    var s{b}_{m} = FragC();
#end
#end
#if CHANNEL
    // The state lies in vectors, which rows can be scaled in; fragments have what the last chunk adds.
#for b in 0..HELD
#for n in 0..2
    var whole{b}_{n} = 0.0;
    var x{b}_{n} = vec4(0.0);
    var y{b}_{n} = vec4(0.0);
#end
#end
#endif
    for (var done = 0u; done < chunks_at(done); done++) {
        chunk = done;
        let base = block() * OPERANDS;
#if CHANNEL
#for b in 0..HELD
#for n in 0..2
        let next{b}_{n} = decay_whole({64 * b}u + subgroup * 16u + {8 * n}u + r);
#end
#end
#else
        let whole = decay_whole(0u);
#endif
#for n in 0..2
#for m in 0..2
        let v{n}_{m} = value_quad(16u * subgroup + {8 * n}u + r, first + c + {m}u);
#end
#end
#if DELTA
        let square = block() * SQUARE;
#for n in 0..2
        let strength{n} = strength_of(16u * subgroup + {8 * n}u + r);
#end
#for n in 0..4
        let z{n} = coopLoadT<FragA>(&zn[square + (subgroup * 4u + {n}u) * 64u], 4u);
#end
#for n in 0..KEY_BLOCKS
        let w{n} = coopLoadT<FragA>(&operands[base + OF_W + (subgroup * KEY_BLOCKS + {n}u) * 64u], 4u);
#end
#endif
        // What comes behind the chunk's barriers is asked for before them.
#for n in 0..KEY_BLOCKS
        let q{n} = coopLoadT<FragA>(&operands[base + OF_Q_IN + (i_o * KEY_BLOCKS + {n}u) * 64u], 4u);
#end
#for n in 0..4
#if CHANNEL
        let p{n} = coopLoadT<FragA>(&kept[block() * 1024u + (i_o * 4u + {n}u) * 64u], 4u);
#else
        let p{n} = coopLoadT<FragA>(&operands[base + OF_P + (i_o * 4u + {n}u) * 64u], 4u);
#endif
#end
#for b in 0..HELD
        let own{b} = min({4 * b}u + subgroup, {KEY_BLOCKS - 1}u);
#for n in 0..4
        let k{b}_{n} = coopLoad<FragA>(&operands[base + OF_K_OUT + ({n}u * KEY_BLOCKS + own{b}) * 64u], 4u);
#end
#end
#for b in 0..HELD
        for (var once = {4 * b}u + subgroup; once < KEY_BLOCKS; once = KEY_BLOCKS) {
            coopStoreT(s{b}_0, &scratch[mine], SCRATCH_ROW);
            coopStoreT(s{b}_1, &scratch[mine + 4u], SCRATCH_ROW);
            subgroupBarrier();
#for n in 0..2
            {
                let at = mine + ({8 * n}u + r) * SCRATCH_ROW + c;
#if CHANNEL
                x{b}_{n} = whole{b}_{n} * x{b}_{n} + scratch[at];
                y{b}_{n} = whole{b}_{n} * y{b}_{n} + scratch[at + 1u];
                let x = vec4<f16>(x{b}_{n});
                let y = vec4<f16>(y{b}_{n});
#else
                let x = vec4<f16>(scratch[at]);
                let y = vec4<f16>(scratch[at + 1u]);
#endif
                let row = {64 * b}u + subgroup * 16u + {8 * n}u + r;
                tile[row * TILE_ROW + c] = x;
                tile[row * TILE_ROW + c + 1u] = y;
                let place = state_place(row, first + c);
                states[place] = vec4<t_states>(x);
                states[place + 1u] = vec4<t_states>(y);
            }
#end
            subgroupBarrier();
        }
#if CHANNEL
#for n in 0..2
        whole{b}_{n} = next{b}_{n};
        s{b}_{n} = FragC();
#end
#endif
#end
#for n in 0..2
#for m in 0..2
#if DELTA
        tile[VALUES + (16u * subgroup + {8 * n}u + r) * TILE_ROW + c + {m}u] = vec4<f16>(strength{n} * vec4<f32>(v{n}_{m}));
#else
        tile[VALUES + (16u * subgroup + {8 * n}u + r) * TILE_ROW + c + {m}u] = v{n}_{m};
#endif
#end
#end
        workgroupBarrier();
#for m in 0..O_BLOCKS
        var o{m} = FragC();
#end
#if DELTA
#for m in 0..2
        var y{m} = FragC();
#for n in 0..4
        y{m} = coopMultiplyAdd(z{n}, coopLoadT<FragB>(&tile[VALUES + {n * 160 + m * 4}u], TILE_ROW), y{m});
#end
#end
#endif
#for n in 0..KEY_BLOCKS
#for m in 0..2
        {
            let state = coopLoadT<FragB>(&tile[{n * 160 + m * 4}u], TILE_ROW);
#if DELTA
            y{m} = coopMultiplyAdd(w{n}, state, y{m});
#endif
#if O_BLOCKS == 2
            o{m} = coopMultiplyAdd(q{n}, state, o{m});
#endif
        }
#end
#if O_BLOCKS == 1
        o0 = coopMultiplyAdd(q{n}, coopLoadT<FragB>(&tile[{n * 160}u + j_o], TILE_ROW), o0);
#endif
#end
#if DELTA
        coopStoreT(y0, &scratch[mine], SCRATCH_ROW);
        coopStoreT(y1, &scratch[mine + 4u], SCRATCH_ROW);
        workgroupBarrier();
#for n in 0..2
        {
            let at = mine + ({8 * n}u + r) * SCRATCH_ROW + c;
            let to = VALUES + (16u * subgroup + {8 * n}u + r) * TILE_ROW + c;
#for m in 0..2
            tile[to + {m}u] = vec4<f16>(strength{n} * (vec4<f32>(v{n}_{m}) + scratch[at + {m}u]));
#end
        }
#end
        workgroupBarrier();
#endif
#for m in 0..O_BLOCKS
#for n in 0..4
        o{m} = coopMultiplyAdd(p{n}, coopLoadT<FragB>(&tile[VALUES + {n * 160 + m * 4}u + j_o], TILE_ROW), o{m});
#end
        coopStoreT(o{m}, &scratch[mine + {4 * m}u], SCRATCH_ROW);
#end
#for b in 0..HELD
#for m in 0..2
#if !CHANNEL
        s{b}_{m} = s{b}_{m} * whole;
#endif
#for n in 0..4
        s{b}_{m} = coopMultiplyAdd(k{b}_{n}, coopLoadT<FragB>(&tile[VALUES + {n * 160 + m * 4}u], TILE_ROW), s{b}_{m});
#end
#end
#end
        workgroupBarrier();
#for n in 0..2
#for m in 0..O_BLOCKS
        {
            let quad = c / {3 - O_BLOCKS}u + {m}u;
            let spot = in_outputs(16u * i_o + {8 * n}u + r, 4u * (first + j_o + quad));
            if own_o < QUERY_BLOCKS && spot.ok {
                let x = scratch[mine + ({8 * n}u + r) * SCRATCH_ROW + quad];
#if WIDE
                o[spot.at] = a_o(x);
#else
#for e in 0..4
                if 4u * (first + j_o + quad) + {e}u < params.d_v {
                    o[spot.at + {e}u] = a_o(x[{e}]);
                }
#end
#endif
            }
        }
#end
#end
        workgroupBarrier();
    }
}
