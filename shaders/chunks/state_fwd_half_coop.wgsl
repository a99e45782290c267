// The recurrence over chunks with the state in registers: with Vn = V or, DELTA, Vn = diag(beta) Y of
//   Y = V + Zn diag(beta) V + W S,
//   O = scale diag(in) Q S + scale P Vn    S <- a S + (diag(out) K)^T Vn
// and S of each chunk's start to memory. Subgroup s keeps rows 16 s .. of S in f32 and computes half a row of blocks of Y
// and O. A workgroup a (64 columns of d_v, h, b), sequential over chunks; grid (ceil(d_v / 64), H, B). Workgroup memory at
// most 48,128 B. Source: Yang et al. 2024, "Gated Linear Attention", section 4, and "Parallelizing Linear Transformers with
// the Delta Rule", section 3.
alias t_operands = f16;
alias t_zn = f16;
alias t_states = f16;
alias t_v = f16;
alias t_o = f16;
alias t_kept = f16;
#import lib/half_chunk
#import lib/half_factors

@group(0) @binding(0) var<storage, read_write> operands: array<vec4<t_operands>>; // [B, H, chunks, OPERANDS]
#if DELTA
@group(0) @binding(1) var<storage, read_write> zn: array<vec4<t_zn>>; // [B, H, chunks, C, C], in blocks
#endif
@group(0) @binding(2) var<storage, read_write> table: array<f32>; // see lib/half_factors
@group(0) @binding(3) var<storage, read_write> v: array<vec4<t_v>>; // [B, T HOUSEHOLDER, H, d_v]
@group(0) @binding(4) var<storage, read_write> o: array<vec4<t_o>>; // [B, T, H, d_v]
@group(0) @binding(5) var<storage, read_write> states: array<vec4<t_states>>; // [B, H, chunks, d_k, d_v], padded
#if CHANNEL
@group(0) @binding(6) var<storage, read_write> kept: array<vec4<t_kept>>; // see lib/half_chunk
#endif
@group(0) @binding(7) var<uniform> params: Params;

const VALUES: u32 = {KEY_BLOCKS * 16 * ROW}; // in `tile`: the state, then V or diag(beta) V, later Vn
var<workgroup> tile: array<vec4<f16>, {KEY_BLOCKS * 16 * ROW + 64 * ROW}>;
var<workgroup> scratch: array<vec4<f32>, 1280>; // 16 rows of 10 quads a subgroup

fn value_quad(i: u32, c: u32) -> vec4<f16> {
    let spot = in_values(i, 4u * c);
    return select(vec4<f16>(), vec4<f16>(v[spot.at]), spot.ok);
}

@compute @workgroup_size(256)
fn state_fwd_half_coop(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    head = wg.y;
    batch = wg.z;
    let subgroup = thread / 32u;
    let mine = subgroup * 160u;
    // A lane's rows r and r + 8 of a block of 16 x 32, and its quads c and c + 1 there.
    let r = thread % 32u / 4u;
    let c = thread % 4u * 2u;
    // The subgroup's row of blocks of Y and O, and its first quad there.
    let i = subgroup / 2u;
    let j = subgroup % 2u * 8u;
    let first = wg.x * 16u;
#for n in 0..4
    var s{n} = FragC();
#end
#if CHANNEL
    // The state lies in vectors, which rows can be scaled in; fragments have what the last chunk adds.
#for n in 0..2
    var whole{n} = 0.0;
#for half in 0..2
    var x{half}_{n} = vec4(0.0);
    var y{half}_{n} = vec4(0.0);
#end
#end
#endif
    for (var done = 0u; done < chunks_at(done); done++) {
        chunk = done;
        let base = block() * OPERANDS;
#if CHANNEL
#for n in 0..2
        let next{n} = decay_whole(subgroup * 16u + {8 * n}u + r);
#end
#else
        let whole = decay_whole(0u);
#endif
#for n in 0..2
#for m in 0..2
        let v{n}_{m} = value_quad(16u * i + {8 * n}u + r, first + j + c + {m}u);
#end
#end
#if DELTA
        let square = block() * SQUARE;
#for n in 0..2
        let strength{n} = strength_of(16u * i + {8 * n}u + r);
#end
#for n in 0..4
        let z{n} = coopLoadT<FragA>(&zn[square + (i * 4u + {n}u) * 64u], 4u);
#end
#for n in 0..KEY_BLOCKS
        let w{n} = coopLoadT<FragA>(&operands[base + OF_W + (i * KEY_BLOCKS + {n}u) * 64u], 4u);
#end
#endif
        // What the second half needs of memory, asked for before the chunk's barriers.
#for n in 0..4
        var p{n} = FragA();
        var k{n} = FragA();
#end
        for (var once = i; once < QUERY_BLOCKS; once = QUERY_BLOCKS) {
#for n in 0..4
#if CHANNEL
            p{n} = coopLoadT<FragA>(&kept[block() * 1024u + (i * 4u + {n}u) * 64u], 4u);
#else
            p{n} = coopLoadT<FragA>(&operands[base + OF_P + (i * 4u + {n}u) * 64u], 4u);
#endif
#end
        }
        for (var once = subgroup; once < KEY_BLOCKS; once = KEY_BLOCKS) {
#for n in 0..4
            k{n} = coopLoad<FragA>(&operands[base + OF_K_OUT + ({n}u * KEY_BLOCKS + subgroup) * 64u], 4u);
#end
        }
#if QUERY_BLOCKS == 4
#for n in 0..KEY_BLOCKS
        let q{n} = coopLoadT<FragA>(&operands[base + OF_Q_IN + (i * KEY_BLOCKS + {n}u) * 64u], 4u);
#end
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
                let x = vec4<f16>(x{half}_{n});
                let y = vec4<f16>(y{half}_{n});
#else
                let x = vec4<f16>(scratch[mine + ({8 * n}u + r) * 10u + c]);
                let y = vec4<f16>(scratch[mine + ({8 * n}u + r) * 10u + c + 1u]);
#endif
                let to = (subgroup * 16u + {8 * n}u + r) * ROW + {8 * half}u + c;
                tile[to] = x;
                tile[to + 1u] = y;
                let at = state_place(subgroup * 16u + {8 * n}u + r, first + {8 * half}u + c);
                states[at] = vec4<t_states>(x);
                states[at + 1u] = vec4<t_states>(y);
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
#for n in 0..2
#for m in 0..2
#if DELTA
        tile[VALUES + (16u * i + {8 * n}u + r) * ROW + j + c + {m}u] = vec4<f16>(strength{n} * vec4<f32>(v{n}_{m}));
#else
        tile[VALUES + (16u * i + {8 * n}u + r) * ROW + j + c + {m}u] = v{n}_{m};
#endif
#end
#end
        workgroupBarrier();
#for m in 0..2
        var o{m} = FragC();
#end
#if DELTA
#for m in 0..2
        var y{m} = FragC();
#end
#for n in 0..4
#for m in 0..2
        y{m} = coopMultiplyAdd(z{n}, coopLoadT<FragB>(&tile[VALUES + {n * 16 * ROW + m * 4}u + j], ROW), y{m});
#end
#end
#endif
#for n in 0..KEY_BLOCKS
#for m in 0..2
        {
            let state = coopLoadT<FragB>(&tile[{n * 16 * ROW + m * 4}u + j], ROW);
#if DELTA
            y{m} = coopMultiplyAdd(w{n}, state, y{m});
#endif
#if QUERY_BLOCKS == 4
            o{m} = coopMultiplyAdd(q{n}, state, o{m});
#endif
        }
#end
#end
#if QUERY_BLOCKS < 4
        for (var once = i; once < QUERY_BLOCKS; once = QUERY_BLOCKS) {
#for n in 0..KEY_BLOCKS
            {
                let q = coopLoadT<FragA>(&operands[base + OF_Q_IN + (i * KEY_BLOCKS + {n}u) * 64u], 4u);
#for m in 0..2
                o{m} = coopMultiplyAdd(q, coopLoadT<FragB>(&tile[{n * 16 * ROW + m * 4}u + j], ROW), o{m});
#end
            }
#end
        }
#endif
#if DELTA
        coopStoreT(y0, &scratch[mine], 10u);
        coopStoreT(y1, &scratch[mine + 4u], 10u);
        workgroupBarrier();
#for n in 0..2
        {
            let at = mine + ({8 * n}u + r) * 10u + c;
            let to = VALUES + (16u * i + {8 * n}u + r) * ROW + j + c;
#for m in 0..2
            tile[to + {m}u] = vec4<f16>(strength{n} * (vec4<f32>(v{n}_{m}) + scratch[at + {m}u]));
#end
        }
#end
        workgroupBarrier();
#endif
        for (var once = i; once < QUERY_BLOCKS; once = QUERY_BLOCKS) {
#for n in 0..4
#for m in 0..2
            o{m} = coopMultiplyAdd(p{n}, coopLoadT<FragB>(&tile[VALUES + {n * 16 * ROW + m * 4}u + j], ROW), o{m});
#end
#end
            coopStoreT(o0, &scratch[mine], 10u);
            coopStoreT(o1, &scratch[mine + 4u], 10u);
        }
        for (var once = subgroup; once < KEY_BLOCKS; once = KEY_BLOCKS) {
#for m in 0..4
#if !CHANNEL
            s{m} = s{m} * whole;
#endif
#for n in 0..4
            s{m} = coopMultiplyAdd(k{n}, coopLoadT<FragB>(&tile[VALUES + {n * 16 * ROW + m * 4}u], ROW), s{m});
#end
#end
        }
        workgroupBarrier();
#for n in 0..2
        {
            let at = mine + ({8 * n}u + r) * 10u + c;
#for m in 0..2
            {
                let spot = in_outputs(16u * i + {8 * n}u + r, 4u * (first + j + c + {m}u));
                if i < QUERY_BLOCKS && spot.ok {
                    o[spot.at] = vec4<t_o>(scratch[at + {m}u]);
                }
            }
#end
        }
#end
        workgroupBarrier();
    }
}
