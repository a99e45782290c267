// The errors of a chunk of a delta rule backward, from dVn and the state at its start:
//   Y = V + Zn diag(beta) V + W S    dR = dVn + Zn^T diag(beta) dVn    Vn = diag(beta) Y    dV = diag(beta) dR
//   dbeta_i = dR_i . Y_i
// Vn takes the place of dVn. Each of 4 subgroups has 16 columns of d_v at a time and waits for no other. A workgroup a (chunk,
// h, b); grid (chunks, H, B). Workgroup memory 13,312 B. Source: as of `state_fwd_half_coop`.
alias t_operands = f16;
alias t_zn = f16;
alias t_v = f16;
alias t_states = f16;
alias t_grad_vn = f16;
alias t_grad_v = f16;
#import lib/half_chunk
#import lib/half_factors

#if WIDE
alias a_v = vec4<t_v>;
alias a_grad_v = vec4<t_grad_v>;
#else
alias a_v = t_v;
alias a_grad_v = t_grad_v;
#endif

@group(0) @binding(0) var<storage, read_write> operands: array<vec4<t_operands>>; // [B, H, chunks, OPERANDS]
@group(0) @binding(1) var<storage, read_write> zn: array<vec4<t_zn>>; // [B, H, chunks, C, C], in blocks
@group(0) @binding(2) var<storage, read_write> table: array<f32>; // see lib/half_factors
@group(0) @binding(3) var<storage, read_write> v: array<a_v>; // [B, T HOUSEHOLDER, H, d_v]
@group(0) @binding(4) var<storage, read_write> states: array<vec4<t_states>>; // [B, H, chunks, d_k, d_v], padded
@group(0) @binding(5) var<storage, read_write> grad_vn: array<vec4<t_grad_vn>>; // [B, T HOUSEHOLDER, H, d_v]: dVn, then Vn
@group(0) @binding(6) var<storage, read_write> grad_v: array<a_grad_v>; // [B, T HOUSEHOLDER, H, d_v]
@group(0) @binding(7) var<storage, read_write> grad_beta: array<f32>; // [B, T HOUSEHOLDER, H]
@group(0) @binding(8) var<uniform> params: Params;

// Of each subgroup: diag(beta) V, then diag(beta) dVn, as blocks; a block of f32; its part of dR_i . Y_i.
var<workgroup> tile: array<vec4<f16>, 1024>;
var<workgroup> scratch: array<vec4<f32>, 256>;
var<workgroup> sums: array<f32, 256>;

fn value_quad(i: u32, c: u32) -> vec4<f16> {
    let spot = in_values(i, 4u * c);
#if WIDE
    return select(vec4<f16>(), vec4<f16>(v[spot.at]), spot.ok);
#else
    let x = vec4(v[spot.at], v[spot.at + 1u], v[spot.at + 2u], v[spot.at + 3u]);
    return row_end(vec4<f16>(x), spot, 4u * c, params.d_v);
#endif
}

fn grad_quad(i: u32, c: u32) -> vec4<f16> {
    let spot = in_errors(i, c);
    return select(vec4<f16>(), vec4<f16>(grad_vn[spot.at]), spot.ok);
}

@compute @workgroup_size(128)
fn error_bwd_half_coop(@builtin(workgroup_id) wg: vec3<u32>, @builtin(local_invocation_index) thread: u32) {
    set_chunk(wg);
    let subgroup = thread / 32u;
    let own = subgroup * 256u;
    let mine = subgroup * 64u;
    // A lane's rows r and r + 8 of each block, and its quad there.
    let r = thread % 32u / 4u;
    let c = thread % 4u;
    let base = block() * OPERANDS + OF_W;
    let square = block() * SQUARE;
    sums[thread] = 0.0;
    sums[thread + 128u] = 0.0;
    workgroupBarrier();
    for (var first = subgroup * 4u; first < state_quads(); first += 16u) {
#for n in 0..KEY_BLOCKS
        let state{n} = coopLoadT<FragB>(&states[state_place({16 * n}u, first)], 4u);
#end
#for i in 0..8
        let v{i} = value_quad({8 * i}u + r, first + c);
        let grad{i} = grad_quad({8 * i}u + r, first + c);
        let strength{i} = strength_of({8 * i}u + r);
#end
#for i in 0..8
        tile[own + {32 * i}u + r * 4u + c] = vec4<f16>(strength{i} * vec4<f32>(v{i}));
#end
        subgroupBarrier();
#for n in 0..4
        let value{n} = coopLoadT<FragB>(&tile[own + {64 * n}u], 4u);
#end
        subgroupBarrier();
#for i in 0..8
        tile[own + {32 * i}u + r * 4u + c] = vec4<f16>(strength{i} * vec4<f32>(grad{i}));
#end
        subgroupBarrier();
#for n in 0..4
        let grads{n} = coopLoadT<FragB>(&tile[own + {64 * n}u], 4u);
#end
        for (var i = 0u; 16u * i < rows_at(i); i++) {
#for n in 0..2
            let spot{n} = in_errors(16u * i + {8 * n}u + r, first + c);
#if WIDE
            let v{n} = v[spot{n}.at];
#else
            let v{n} = value_quad(16u * i + {8 * n}u + r, first + c);
#endif
            let grad{n} = grad_vn[spot{n}.at];
#end
            var y = FragC();
            var d = FragC();
#for n in 0..4
            y = coopMultiplyAdd(coopLoadT<FragA>(&zn[square + (i * 4u + {n}u) * 64u], 4u), value{n}, y);
            d = coopMultiplyAdd(coopLoad<FragA>(&zn[square + ({4 * n}u + i) * 64u], 4u), grads{n}, d);
#end
#for n in 0..KEY_BLOCKS
            y = coopMultiplyAdd(coopLoadT<FragA>(&operands[base + (i * KEY_BLOCKS + {n}u) * 64u], 4u), state{n}, y);
#end
            coopStoreT(d, &scratch[mine], 4u);
            subgroupBarrier();
#for n in 0..2
            let of_row{n} = vec4<f32>(grad{n}) + scratch[mine + {32 * n}u + r * 4u + c];
#end
            subgroupBarrier();
            coopStoreT(y, &scratch[mine], 4u);
            subgroupBarrier();
#for n in 0..2
            {
                let strength = strength_of(16u * i + {8 * n}u + r);
                let error = vec4<f32>(v{n}) + scratch[mine + {32 * n}u + r * 4u + c];
                var sum = 0.0;
                if spot{n}.ok {
                    grad_vn[spot{n}.at] = vec4<t_grad_vn>(strength * error);
#if WIDE
                    grad_v[spot{n}.at] = a_grad_v(strength * of_row{n});
#else
                    let place = in_values(16u * i + {8 * n}u + r, 4u * (first + c)).at;
#for e in 0..4
                    if 4u * (first + c) + {e}u < params.d_v {
                        grad_v[place + {e}u] = a_grad_v(strength * of_row{n}[{e}]);
                    }
#end
#endif
                    sum = dot(of_row{n}, error);
                }
                sum += subgroupShuffleXor(sum, 1u);
                sum += subgroupShuffleXor(sum, 2u);
                if c == 0u {
                    sums[mine + 16u * i + {8 * n}u + r] += sum;
                }
            }
#end
            subgroupBarrier();
        }
    }
    workgroupBarrier();
    if thread < 64u && is_row(thread) {
        grad_beta[row(thread)] = (sums[thread] + sums[thread + 64u]) + (sums[thread + 128u] + sums[thread + 192u]);
    }
}
