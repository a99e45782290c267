// Which elements a dropout keeps.
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

// The same of what a thread has of a row, from column WIDTH `column` on.
fn kept_lanes(column: u32, row: u32, tag: u32, threshold: u32) -> Keep {
#if WIDE
    return kept(column, row, tag, threshold);
#else
    return kept(column / 4u, row, tag, threshold)[column % 4u];
#endif
}
