// Prefix sums over the 256 invocations of a workgroup. The importing kernel defines the type Item, whose zero value is
// the sum of nothing, and `fn join(a: Item, b: Item) -> Item`, the sum of two.
var<workgroup> prefix_items: array<Item, 256>;

// The sum of what the invocations before this one bring. All invocations call it.
fn sum_before(lane: u32, own: Item) -> Item {
    prefix_items[lane] = own;
    workgroupBarrier();
    for (var distance = 1u; distance < 256u; distance *= 2u) {
        var sum = prefix_items[lane];
        if lane >= distance {
            sum = join(prefix_items[lane - distance], sum);
        }
        workgroupBarrier();
        prefix_items[lane] = sum;
        workgroupBarrier();
    }
    if lane == 0u {
        return Item();
    }
    return prefix_items[lane - 1u];
}
