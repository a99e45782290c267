// C = A B for few columns of A, of which a thread has its rows of B in registers: four columns of C, ROWS rows one after the
// other. Such a product is bound by reading and writing C. Neighbours have neighbouring columns of the same rows.
// Grid: ops::grid_1d over ceil(n / 4 ceil(m / ROWS) / 256).
#import lib/grid

const K: u32 = 8; // columns of A, a multiple of 4
const ROWS: u32 = 16;
const ACCUMULATE: bool = false; // C is added to
alias t_a = f32;
alias t_b = f32;
alias t_c = f32;

struct Params { m: u32, n: u32, a_row: u32 } // elements of a row of A as stored, a multiple of 4

@group(0) @binding(0) var<storage, read_write> a: array<vec4<t_a>>; // [m, a_row]
@group(0) @binding(1) var<storage, read_write> b: array<vec4<t_b>>; // [K, n]
@group(0) @binding(2) var<storage, read_write> c: array<vec4<t_c>>; // [m, n]
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(256)
fn gemm_thin(
    @builtin(workgroup_id) wg: vec3<u32>,
    @builtin(num_workgroups) count: vec3<u32>,
    @builtin(local_invocation_index) thread: u32,
) {
    let item = workgroup_index(wg, count) * 256u + thread;
    let quads = params.n / 4u;
    let column = item % quads;
    let begin = item / quads * ROWS;
    let end = min(begin + ROWS, params.m);
    if begin >= end {
        return;
    }
#for k in 0..K
    let b{k} = vec4<f32>(b[{k}u * quads + column]);
#end
    for (var first = begin; first < end; first += 4u) {
        // All that four rows need is asked for at once; the last row stands for those behind it.
#for r in 0..4
        let row{r} = min(first + {r}u, end - 1u);
#for q in 0..K / 4
        let a{r}_{q} = a[row{r} * (params.a_row / 4u) + {q}u];
#end
#if ACCUMULATE
        let old{r} = c[row{r} * quads + column];
#endif
#end
#for r in 0..4
        {
            var product = vec4(0.0);
#for q in 0..K / 4
            {
                let x = vec4<f32>(a{r}_{q});
#for e in 0..4
                product = fma(vec4(x[{e}]), b{4 * q + e}, product);
#end
            }
#end
#if ACCUMULATE
            product = vec4<f32>(old{r}) + product;
#endif
            if first + {r}u < end {
                c[row{r} * quads + column] = vec4<t_c>(product);
            }
        }
#end
    }
}
