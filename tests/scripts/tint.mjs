// Compiles WGSL texts with Dawn's Tint, on no device. Usage: node tint.mjs PACKAGE TEXTS.json
// TEXTS.json is a list of {key, entry, bindings: [{binding, uniform}], f16, code}. Prints what is refused as a list.
import fs from 'node:fs';
import { pathToFileURL } from 'node:url';

const [folder, file] = process.argv.slice(2);
const { create, globals } = await import(pathToFileURL(`${folder}/index.js`));
Object.assign(globalThis, globals);
const gpu = create(['backend=null', 'enable-dawn-features=allow_unsafe_apis']);
const adapter = await gpu.requestAdapter();
const limits = ['maxStorageBuffersPerShaderStage', 'maxComputeWorkgroupStorageSize',
  'maxComputeInvocationsPerWorkgroup', 'maxComputeWorkgroupSizeX'];
const device = await adapter.requestDevice({
  requiredFeatures: ['shader-f16', 'subgroups'].filter((name) => adapter.features.has(name)),
  requiredLimits: Object.fromEntries(limits.map((name) => [name, adapter.limits[name]])),
});
const refused = [];
for (const { key, entry, bindings, f16, code } of JSON.parse(fs.readFileSync(file))) {
  if (f16 && !device.features.has('shader-f16')) continue;
  device.pushErrorScope('validation');
  const module = device.createShaderModule({ code });
  const { messages } = await module.getCompilationInfo();
  const errors = messages.filter((m) => m.type === 'error')
    .map((m) => `${m.message} at: ${code.split('\n')[m.lineNum - 1]?.trim()}`);
  if (errors.length === 0) {
    const entries = bindings.map(({ binding, uniform }) =>
      ({ binding, visibility: 4, buffer: { type: uniform ? 'uniform' : 'storage' } }));
    const layout = device.createPipelineLayout({ bindGroupLayouts: [device.createBindGroupLayout({ entries })] });
    try {
      await device.createComputePipelineAsync({ layout, compute: { module, entryPoint: entry } });
    } catch (e) {
      errors.push(String(e.message ?? e));
    }
  }
  const scope = await device.popErrorScope();
  if (scope && errors.length === 0) errors.push(scope.message);
  if (errors.length > 0) refused.push(`${key}: ${errors.join(' | ')}`);
}
// The process does not end by itself while the device lives.
fs.writeFileSync(1, JSON.stringify(refused));
process.exit(0);
