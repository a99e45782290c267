// Which of the four columns 4 `group` .. of a row dropout keeps; mirrors `dropout::keeps`.
#import lib/philox
#import lib/step

const DROPOUT_KEY: u32 = 0;

fn kept(group: u32, row: u32, tag: u32, threshold: u32) -> vec4<bool> {
    if step.dropout_on == 0u || threshold == 0u {
        return vec4(true);
    }
    let counter = vec4(group, step.first_row + row, step.step, tag);
    return philox4x32(counter, vec2(step.seed, DROPOUT_KEY)) >= vec4(threshold);
}

// Factor of what is kept.
fn kept_scale(scale: f32) -> f32 {
    return select(1.0, scale, step.dropout_on != 0u);
}
