// Dropout of a matrix [rows, d], four columns of a row a thread, which share one call of the generator.
//
// The importing kernel has params with rows, d, groups = ceil(d / 4), tag, threshold and scale, and defines
// `fn mask_row(row: u32) -> u32`, the row of the mask, and `fn drop(at: u32, keep: Keep, scale: f32)`, which does the
// element or, WIDE, quad `at`: `scale` is the factor of what is kept.
#import lib/philox
#import lib/step
#import lib/wide

#if WIDE
alias Keep = vec4<bool>;
#else
alias Keep = bool;
#endif

const DROPOUT_KEY: u32 = 0;

// Which of the columns 4 `group` .. of a row are kept; mirrors `dropout::keeps`.
fn kept(group: u32, row: u32, tag: u32, threshold: u32) -> vec4<bool> {
    if step.dropout_on == 0u || threshold == 0u {
        return vec4(true);
    }
    let counter = vec4(group, step.first_row + row, step.step, tag);
    return philox4x32(counter, vec2(step.seed, DROPOUT_KEY)) >= vec4(threshold);
}

fn drop_columns(item: u32) {
    if item >= params.rows * params.groups {
        return;
    }
    let row = item / params.groups;
    let group = item % params.groups;
    let keep = kept(group, mask_row(row), params.tag, params.threshold);
    let scale = select(1.0, params.scale, step.dropout_on != 0u);
#if WIDE
    drop(row * params.groups + group, keep, scale);
#else
    let at = row * params.d + group * 4u;
#for k in 0..4
    if group * 4u + {k}u < params.d {
        drop(at + {k}u, keep[{k}], scale);
    }
#end
#endif
}
