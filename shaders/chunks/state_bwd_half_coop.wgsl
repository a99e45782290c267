// The recurrence over chunks backward, from the last, with D = dL/dS' in registers as `state_fwd_half_coop` has S:
//   dVn = scale P^T dO + diag(out) K D    D <- a D + (scale diag(in) Q)^T dO [DELTA: + W^T diag(beta) dVn]
// and D of each chunk's end to memory, with sums of S D where GATES. A workgroup a (64 columns of d_v, h, b); grid
// (ceil(d_v / 64), H, B). Workgroup memory at most 48,128 B. Source: as of `state_fwd_half_coop`.
const GATES: bool = true; // there are log decays that want a gradient
alias t_operands = f16;
alias t_states = f16;
alias t_grad_o = f16;
alias t_grad_vn = f16;
alias t_grad_states = f16;
alias t_kept = f16;
#import lib/half_chunk
#import lib/half_factors

@group(0) @binding(0) var<storage, read_write> operands: array<vec4<t_operands>>; // [B, H, chunks, OPERANDS]
@group(0) @binding(1) var<storage, read_write> table: array<f32>; // see lib/half_factors
@group(0) @binding(2) var<storage, read_write> grad_o: array<vec4<t_grad_o>>; // [B, T, H, d_v]
@group(0) @binding(3) var<storage, read_write> grad_vn: array<vec4<t_grad_vn>>; // [B, T HOUSEHOLDER, H, d_v]
@group(0) @binding(4) var<storage, read_write> grad_states: array<vec4<t_grad_states>>; // [B, H, chunks, d_k, d_v], padded
#if GATES
@group(0) @binding(5) var<storage, read_write> states: array<vec4<t_states>>; // the same
@group(0) @binding(6) var<storage, read_write> overlaps: array<f32>; // [B, H, chunks, ceil(d_v / 64), 8]: parts of <S, D>
#endif
#if CHANNEL
@group(0) @binding(7) var<storage, read_write> kept: array<vec4<t_kept>>; // see lib/half_chunk
#endif
@group(0) @binding(8) var<uniform> params: Params;

const STATE_ROWS: u32 = {64 + (KEY_BLOCKS > 4) * (KEY_BLOCKS * 16 - 64)};
const OUTPUTS: u32 = {STATE_ROWS * ROW}; // in `tile`: D, later diag(beta) dVn; then dO
var<workgroup> tile: array<vec4<f16>, {STATE_ROWS * ROW + QUERY_BLOCKS * 16 * ROW}>;
var<workgroup> scratch: array<vec4<f32>, 1280>; // 16 rows of 10 quads a subgroup

fn output_quad(i: u32, c: u32) -> vec4<f16> {
    let spot = in_outputs(i, 4u * c);
    return select(vec4<f16>(), vec4<f16>(grad_o[spot.at]), spot.ok);
}

@compute @workgroup_size(256)
fn state_bwd_half_coop(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    head = wg.y;
    batch = wg.z;
    let subgroup = thread / 32u;
    let mine = subgroup * 160u;
    // Rows and quads of a lane, row of blocks and first quad of a subgroup as in `state_fwd_half_coop`.
    let r = thread % 32u / 4u;
    let c = thread % 4u * 2u;
    let i = subgroup / 2u;
    let j = subgroup % 2u * 8u;
    let first = wg.x * 16u;
#for n in 0..4
    var s{n} = FragC();
#end
#if CHANNEL
    // D lies in vectors, as in `state_fwd_half_coop`.
#for n in 0..2
    var whole{n} = 0.0;
#for half in 0..2
    var x{half}_{n} = vec4(0.0);
    var y{half}_{n} = vec4(0.0);
#end
#end
#endif
    for (var done = 0u; done < chunks_at(done); done++) {
        chunk = params.chunks - 1u - done;
        let base = block() * OPERANDS;
#if CHANNEL
#for n in 0..2
        let next{n} = decay_whole(subgroup * 16u + {8 * n}u + r);
#end
#else
        let whole = decay_whole(0u);
#endif
#for n in 0..2
        let v{n} = output_quad({32 * n}u + thread / 8u, first + thread % 8u * 2u);
        let u{n} = output_quad({32 * n}u + thread / 8u, first + thread % 8u * 2u + 1u);
#if DELTA
        let strength{n} = strength_of(16u * i + {8 * n}u + r);
#endif
#end
#for n in 0..QUERY_BLOCKS
#if CHANNEL
        let p{n} = coopLoad<FragA>(&kept[block() * 1024u + ({4 * n}u + i) * 64u], 4u);
#else
        let p{n} = coopLoad<FragA>(&operands[base + OF_P + ({4 * n}u + i) * 64u], 4u);
#endif
#end
#for n in 0..KEY_BLOCKS
        let k{n} = coopLoadT<FragA>(&operands[base + OF_K_OUT + (i * KEY_BLOCKS + {n}u) * 64u], 4u);
#end
        // What comes behind the chunk's barriers is asked for before them.
#for n in 0..QUERY_BLOCKS
        var q{n} = FragA();
#end
#if DELTA
#for n in 0..4
        var w{n} = FragA();
#end
#endif
        for (var once = subgroup; once < KEY_BLOCKS; once = KEY_BLOCKS) {
#if DELTA
#for n in 0..4
            w{n} = coopLoad<FragA>(&operands[base + OF_W + ({n}u * KEY_BLOCKS + subgroup) * 64u], 4u);
#end
#endif
#for n in 0..QUERY_BLOCKS
            q{n} = coopLoad<FragA>(&operands[base + OF_Q_IN + ({n}u * KEY_BLOCKS + subgroup) * 64u], 4u);
#end
        }
#if GATES
        let own = min(subgroup, {KEY_BLOCKS - 1}u) * 16u + r;
#for half in 0..2
#for n in 0..2
        let from{half}_{n} = state_place(own + {8 * n}u, first + {8 * half}u + c);
        let left{half}_{n} = states[from{half}_{n}];
        let right{half}_{n} = states[from{half}_{n} + 1u];
#end
#end
        var overlap = 0.0;
#endif
        for (var once = subgroup; once < KEY_BLOCKS; once = KEY_BLOCKS) {
#for half in 0..2
            coopStoreT(s{2 * half}, &scratch[mine], 10u);
            coopStoreT(s{2 * half + 1}, &scratch[mine + 4u], 10u);
            subgroupBarrier();
#for n in 0..2
            {
#if CHANNEL
                x{half}_{n} = whole{n} * x{half}_{n} + scratch[mine + ({8 * n}u + r) * 10u + c];
                y{half}_{n} = whole{n} * y{half}_{n} + scratch[mine + ({8 * n}u + r) * 10u + c + 1u];
                let x = x{half}_{n};
                let y = y{half}_{n};
#else
                let x = scratch[mine + ({8 * n}u + r) * 10u + c];
                let y = scratch[mine + ({8 * n}u + r) * 10u + c + 1u];
#endif
                let to = (subgroup * 16u + {8 * n}u + r) * ROW + {8 * half}u + c;
                tile[to] = vec4<f16>(x);
                tile[to + 1u] = vec4<f16>(y);
                let at = state_place(subgroup * 16u + {8 * n}u + r, first + {8 * half}u + c);
                grad_states[at] = vec4<t_grad_states>(x);
                grad_states[at + 1u] = vec4<t_grad_states>(y);
#if GATES
                overlap += dot(x, vec4<f32>(left{half}_{n})) + dot(y, vec4<f32>(right{half}_{n}));
#endif
            }
#end
            subgroupBarrier();
#end
        }
#if CHANNEL
#for n in 0..2
        whole{n} = next{n};
#end
#for n in 0..4
        s{n} = FragC();
#end
#endif
#if GATES
        overlap = subgroupAdd(overlap);
        if thread % 32u == 0u {
            overlaps[(block() * ((params.d_v + 63u) / 64u) + wg.x) * 8u + subgroup] = overlap;
        }
#endif
#for n in 0..2
        if {32 * n}u + thread / 8u < QUERY_BLOCKS * 16u {
            tile[OUTPUTS + ({32 * n}u + thread / 8u) * ROW + thread % 8u * 2u] = v{n};
            tile[OUTPUTS + ({32 * n}u + thread / 8u) * ROW + thread % 8u * 2u + 1u] = u{n};
        }
#end
        workgroupBarrier();
#for m in 0..2
        var y{m} = FragC();
#for n in 0..QUERY_BLOCKS
        y{m} = coopMultiplyAdd(p{n}, coopLoadT<FragB>(&tile[OUTPUTS + {n * 16 * ROW + m * 4}u + j], ROW), y{m});
#end
#for n in 0..KEY_BLOCKS
        y{m} = coopMultiplyAdd(k{n}, coopLoadT<FragB>(&tile[{n * 16 * ROW + m * 4}u + j], ROW), y{m});
#end
#end
        for (var once = subgroup; once < KEY_BLOCKS; once = KEY_BLOCKS) {
#if !CHANNEL
#for m in 0..4
            s{m} = s{m} * whole;
#end
#endif
#for n in 0..QUERY_BLOCKS
            {
#for m in 0..4
                s{m} = coopMultiplyAdd(q{n}, coopLoadT<FragB>(&tile[OUTPUTS + {n * 16 * ROW + m * 4}u], ROW), s{m});
#end
            }
#end
        }
        coopStoreT(y0, &scratch[mine], 10u);
        coopStoreT(y1, &scratch[mine + 4u], 10u);
        workgroupBarrier();
#for n in 0..2
        {
            let write = 16u * i + {8 * n}u + r;
#for m in 0..2
            {
                let x = scratch[mine + ({8 * n}u + r) * 10u + c + {m}u];
#if DELTA
                tile[write * ROW + j + c + {m}u] = vec4<f16>(strength{n} * x);
#endif
                let spot = in_values(write, 4u * (first + j + c + {m}u));
                if spot.ok {
                    grad_vn[spot.at] = vec4<t_grad_vn>(x);
                }
            }
#end
        }
#end
#if DELTA
        workgroupBarrier();
        for (var once = subgroup; once < KEY_BLOCKS; once = KEY_BLOCKS) {
#for m in 0..4
#for n in 0..4
            s{m} = coopMultiplyAdd(w{n}, coopLoadT<FragB>(&tile[{n * 16 * ROW + m * 4}u], ROW), s{m});
#end
#end
        }
#endif
        workgroupBarrier();
    }
}
