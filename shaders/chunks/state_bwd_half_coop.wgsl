// The recurrence over chunks backward, from the last, with D = dL/dS' in registers as `state_fwd_half_coop` has S:
//   dVn = scale P^T dO + diag(out) K D    D <- a D + (scale diag(in) Q)^T dO [DELTA: + W^T diag(beta) dVn]
// and D of each chunk's end to memory, with sums of S D where GATES. A workgroup a (32 columns of S, h, b), padding
// too; grid (state_quads() / 8, H, B). Workgroup memory at most 24,576 B. Source: as of `state_fwd_half_coop`.
const GATES: bool = true; // there are log decays that want a gradient
alias t_operands = f16;
alias t_states = f16;
alias t_grad_o = f16;
alias t_grad_vn = f16;
alias t_grad_states = f16;
alias t_kept = f16;
#import lib/half_chunk
#import lib/half_factors

#if WIDE
alias a_grad_o = vec4<t_grad_o>;
#else
alias a_grad_o = t_grad_o;
#endif
#if WIDE || DELTA
alias a_grad_vn = vec4<t_grad_vn>;
#else
alias a_grad_vn = t_grad_vn;
#endif

@group(0) @binding(0) var<storage, read_write> operands: array<vec4<t_operands>>; // [B, H, chunks, OPERANDS]
@group(0) @binding(1) var<storage, read_write> table: array<f32>; // see lib/half_factors
@group(0) @binding(2) var<storage, read_write> grad_o: array<a_grad_o>; // [B, T, H, d_v]
@group(0) @binding(3) var<storage, read_write> grad_vn: array<a_grad_vn>; // [B, T HOUSEHOLDER, H, d_v]
@group(0) @binding(4) var<storage, read_write> grad_states: array<vec4<t_grad_states>>; // [B, H, chunks, d_k, d_v], padded
#if GATES
@group(0) @binding(5) var<storage, read_write> states: array<vec4<t_states>>; // the same
@group(0) @binding(6) var<storage, read_write> overlaps: array<f32>; // [B, H, chunks, tiles of 32 columns of S, 4]: parts of <S, D>
#endif
#if CHANNEL
@group(0) @binding(7) var<storage, read_write> kept: array<vec4<t_kept>>; // see lib/half_chunk
#endif
@group(0) @binding(8) var<uniform> params: Params;

const HELD: u32 = {(KEY_BLOCKS + 3) / 4}; // rows of blocks of D that a subgroup keeps
const TILE_ROW: u32 = 10; // quads of a row of 32 columns, and two more so that rows start in different banks
const OUTPUTS: u32 = {640 + (KEY_BLOCKS > 4) * (KEY_BLOCKS * 160 - 640)}; // in `tile`: D, later diag(beta) dVn; then dO
var<workgroup> tile: array<vec4<f16>, {640 + (KEY_BLOCKS > 4) * (KEY_BLOCKS * 160 - 640) + QUERY_BLOCKS * 160}>;
const SCRATCH_ROW: u32 = 9;
var<workgroup> scratch: array<vec4<f32>, 576>; // 16 rows a subgroup

fn output_quad(i: u32, c: u32) -> vec4<f16> {
    let spot = in_outputs(i, 4u * c);
#if WIDE
    return select(vec4<f16>(), vec4<f16>(grad_o[spot.at]), spot.ok);
#else
    let x = vec4(grad_o[spot.at], grad_o[spot.at + 1u], grad_o[spot.at + 2u], grad_o[spot.at + 3u]);
    return row_end(vec4<f16>(x), spot, 4u * c, params.d_v);
#endif
}

@compute @workgroup_size(128)
fn state_bwd_half_coop(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    head = wg.y;
    batch = wg.z;
    let subgroup = thread / 32u;
    let mine = subgroup * 16u * SCRATCH_ROW;
    // Rows and quads of a lane as in `state_fwd_half_coop`; dVn has a row of blocks a subgroup.
    let r = thread % 32u / 4u;
    let c = thread % 4u * 2u;
    let first = wg.x * 8u;
#for b in 0..HELD
    let own{b} = min({4 * b}u + subgroup, {KEY_BLOCKS - 1}u);
#for m in 0..2
    var s{b}_{m} = FragC();
#end
#end
#if CHANNEL
    // D lies in vectors, as in `state_fwd_half_coop`.
#for b in 0..HELD
#for n in 0..2
    var whole{b}_{n} = 0.0;
    var x{b}_{n} = vec4(0.0);
    var y{b}_{n} = vec4(0.0);
#end
#end
#endif
    for (var done = 0u; done < chunks_at(done); done++) {
        chunk = params.chunks - 1u - done;
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
#for n in 0..QUERY_BLOCKS
        let v{n} = output_quad({16 * n}u + thread / 8u, first + thread % 8u);
#end
#if DELTA
#for n in 0..2
        let strength{n} = strength_of(16u * subgroup + {8 * n}u + r);
#end
#endif
        // What the products need of memory is asked for before the chunk's barriers.
#for n in 0..QUERY_BLOCKS
#if CHANNEL
        let p{n} = coopLoad<FragA>(&kept[block() * 1024u + ({4 * n}u + subgroup) * 64u], 4u);
#else
        let p{n} = coopLoad<FragA>(&operands[base + OF_P + ({4 * n}u + subgroup) * 64u], 4u);
#endif
#end
#for n in 0..KEY_BLOCKS
        let k{n} = coopLoadT<FragA>(&operands[base + OF_K_OUT + (subgroup * KEY_BLOCKS + {n}u) * 64u], 4u);
#end
#for b in 0..HELD
#for n in 0..QUERY_BLOCKS
        let q{b}_{n} = coopLoad<FragA>(&operands[base + OF_Q_IN + ({n}u * KEY_BLOCKS + own{b}) * 64u], 4u);
#end
#end
#if GATES
#for b in 0..HELD
#for n in 0..2
        let place{b}_{n} = state_place(own{b} * 16u + {8 * n}u + r, first + c);
        let left{b}_{n} = states[place{b}_{n}];
        let right{b}_{n} = states[place{b}_{n} + 1u];
#end
#end
        var overlap = 0.0;
#endif
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
                let x = x{b}_{n};
                let y = y{b}_{n};
#else
                let x = scratch[at];
                let y = scratch[at + 1u];
#endif
                let row = {64 * b}u + subgroup * 16u + {8 * n}u + r;
                tile[row * TILE_ROW + c] = vec4<f16>(x);
                tile[row * TILE_ROW + c + 1u] = vec4<f16>(y);
                let place = state_place(row, first + c);
                grad_states[place] = vec4<t_grad_states>(x);
                grad_states[place + 1u] = vec4<t_grad_states>(y);
#if GATES
                overlap += dot(x, vec4<f32>(left{b}_{n})) + dot(y, vec4<f32>(right{b}_{n}));
#endif
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
#if GATES
        overlap = subgroupAdd(overlap);
        if thread % 32u == 0u {
            overlaps[(block() * state_quads() / 8u + wg.x) * 4u + subgroup] = overlap;
        }
#endif
#for n in 0..QUERY_BLOCKS
        tile[OUTPUTS + ({16 * n}u + thread / 8u) * TILE_ROW + thread % 8u] = v{n};
#end
        workgroupBarrier();
#for m in 0..2
        var y{m} = FragC();
#for n in 0..QUERY_BLOCKS
        y{m} = coopMultiplyAdd(p{n}, coopLoadT<FragB>(&tile[OUTPUTS + {n * 160 + m * 4}u], TILE_ROW), y{m});
#end
#for n in 0..KEY_BLOCKS
        y{m} = coopMultiplyAdd(k{n}, coopLoadT<FragB>(&tile[{n * 160 + m * 4}u], TILE_ROW), y{m});
#end
#end
#for b in 0..HELD
#for m in 0..2
#if !CHANNEL
        s{b}_{m} = s{b}_{m} * whole;
#endif
#for n in 0..QUERY_BLOCKS
        s{b}_{m} = coopMultiplyAdd(q{b}_{n}, coopLoadT<FragB>(&tile[OUTPUTS + {n * 160 + m * 4}u], TILE_ROW), s{b}_{m});
#end
#end
#end
#if DELTA
#for b in 0..HELD
#for n in 0..4
        let w{b}_{n} = coopLoad<FragA>(&operands[base + OF_W + ({n}u * KEY_BLOCKS + own{b}) * 64u], 4u);
#end
#end
#endif
        coopStoreT(y0, &scratch[mine], SCRATCH_ROW);
        coopStoreT(y1, &scratch[mine + 4u], SCRATCH_ROW);
        workgroupBarrier();
#for n in 0..2
        {
            let write = 16u * subgroup + {8 * n}u + r;
#for m in 0..2
            {
                let x = scratch[mine + ({8 * n}u + r) * SCRATCH_ROW + c + {m}u];
#if DELTA
                tile[write * TILE_ROW + c + {m}u] = vec4<f16>(strength{n} * x);
#endif
#if WIDE || DELTA
                let spot = in_errors(write, first + c + {m}u);
                if spot.ok {
                    grad_vn[spot.at] = a_grad_vn(x);
                }
#else
                let spot = in_values(write, 4u * (first + c + {m}u));
#for e in 0..4
                if spot.ok & (4u * (first + c + {m}u) + {e}u < params.d_v) {
                    grad_vn[spot.at + {e}u] = a_grad_vn(x[{e}]);
                }
#end
#endif
            }
#end
        }
#end
#if DELTA
        workgroupBarrier();
#for b in 0..HELD
#for m in 0..2
#for n in 0..4
        s{b}_{m} = coopMultiplyAdd(w{b}_{n}, coopLoadT<FragB>(&tile[{n * 160 + m * 4}u], TILE_ROW), s{b}_{m});
#end
#end
#end
#endif
        workgroupBarrier();
    }
}
