// Backward of y = factor x, a factor a row. The importing kernel has bindings x, dy and dx [rows, p], params with p and
// accumulate, and the rows of lib/row.
#import lib/row

// Writes dx = factor dy of the caller's row, or adds it where `accumulate`, and returns dy . x. For all threads of the
// workgroup together; a row that is not there is not `inside`.
fn scaled_row_bwd(row: u32, inside: bool, factor: f32, thread: u32) -> f32 {
    let lane = thread % LANES;
    var sum = 0.0;
#for k in 0..PER
    if inside && lane + {k}u * LANES < params.p {
        let at = row * params.p + lane + {k}u * LANES;
        let d = f32(grad_y[at]);
        sum = fma(d, f32(x[at]), sum);
        var value = factor * d;
        if params.accumulate != 0u {
            value += f32(grad_x[at]);
        }
        grad_x[at] = t_grad_x(value);
    }
#end
    return row_sum(vec2(sum, 0.0), thread).x;
}
