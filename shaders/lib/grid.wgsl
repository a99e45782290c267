// Undoes `ops::grid_1d`: the workgroup's index in a grid that is laid out in two dimensions.
fn workgroup_index(id: vec3<u32>, count: vec3<u32>) -> u32 {
    return id.y * count.x + id.x;
}
