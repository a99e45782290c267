//! Copies: from the host into buffers, back from them, and waiting for the device.

use super::{GpuRuntime, checked};
use crate::error::{Error, Result};
use crate::runtime::{Program, Ticket};
use crate::tensor::{Role, TensorId};
use rayon::prelude::*;
use std::ops::Range;
use std::sync::mpsc;

/// Bytes that one thread copies to where the device takes them from: new memory there costs as much as the copy.
const UPLOAD_PART: usize = 16 << 20;
/// Bytes of a copy that is on its way to the host.
const RING_BYTES: u64 = 256;

/// A copy on its way to the host.
struct Flight {
    ticket: Ticket,
    bytes: usize,
    done: mpsc::Receiver<std::result::Result<(), wgpu::BufferAsyncError>>,
}

/// Small buffers for copies that nobody waits for yet.
#[derive(Default)]
pub(super) struct Ring {
    slots: Vec<(wgpu::Buffer, Option<Flight>)>,
    tickets: u64,
}

impl GpuRuntime {
    pub(super) fn location(
        &self,
        program: Program,
        tensor: TensorId,
    ) -> Option<(wgpu::Buffer, Range<usize>)> {
        let loaded = &self.programs[program.0];
        let info = loaded.graph.tensor(tensor);
        match info.role {
            Role::Bank(bank, offset) => {
                let width = bank.dtype().bytes();
                let range = width * offset..width * (offset + info.numel());
                self.banks[bank as usize].clone().map(|buffer| (buffer, range))
            }
            _ => loaded.places[tensor.index()]
                .clone()
                .map(|(block, range)| (loaded.blocks[block].clone(), range)),
        }
    }

    /// Host writes happen before everything that is encoded and not yet submitted, so that has to go first.
    pub(super) fn upload(&mut self, target: &wgpu::Buffer, offset: usize, bytes: &[u8]) {
        self.submit();
        let queue = &self.gpu.queue;
        let write = |at: usize, part: &[u8]| queue.write_buffer(target, (offset + at) as u64, part);
        if bytes.len() <= UPLOAD_PART {
            return write(0, bytes);
        }
        let parts = bytes.par_chunks(UPLOAD_PART).enumerate();
        parts.for_each(|(i, part)| write(i * UPLOAD_PART, part));
    }

    pub(super) fn download(&mut self, source: &wgpu::Buffer, range: Range<usize>) -> Result<Vec<u8>> {
        const CHUNK: usize = 256 << 20;
        let mut out = Vec::with_capacity(range.len());
        let mut at = range.start;
        while at < range.end {
            let n = CHUNK.min(range.end - at);
            let size = n.next_multiple_of(4) as u64;
            let staging = checked(&self.gpu, "reading back", n, || {
                self.gpu.device.create_buffer(&wgpu::BufferDescriptor {
                    label: Some("read"),
                    size,
                    usage: wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST,
                    mapped_at_creation: false,
                })
            })?;
            let mut encoder = self.encoder();
            encoder.copy_buffer_to_buffer(source, at as u64, &staging, 0, size);
            self.encoder = Some(encoder);
            self.submit();
            let (tx, rx) = mpsc::channel();
            staging.map_async(wgpu::MapMode::Read, .., move |r| {
                let _ = tx.send(r);
            });
            self.poll(true)?;
            rx.recv()
                .ok()
                .and_then(std::result::Result::ok)
                .ok_or_else(|| self.lost("a read did not complete"))?;
            let view = staging
                .get_mapped_range(..)
                .map_err(|e| self.lost(&e.to_string()))?;
            out.extend_from_slice(&view[..n]);
            at += n;
        }
        Ok(out)
    }

    /// [`Runtime::fetch`](crate::runtime::Runtime::fetch) of part of a buffer.
    pub(super) fn fetch_range(&mut self, source: &wgpu::Buffer, range: Range<usize>) -> Ticket {
        assert!(range.len() as u64 <= RING_BYTES, "only small results are fetched");
        let free = self
            .ring
            .slots
            .iter()
            .position(|(_, flight)| flight.is_none())
            .unwrap_or_else(|| {
                let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
                let desc = wgpu::BufferDescriptor {
                    label: Some("ring"),
                    size: RING_BYTES,
                    usage,
                    mapped_at_creation: false,
                };
                self.ring.slots.push((self.gpu.device.create_buffer(&desc), None));
                self.ring.slots.len() - 1
            });
        let staging = self.ring.slots[free].0.clone();
        let mut encoder = self.encoder();
        encoder.copy_buffer_to_buffer(source, range.start as u64, &staging, 0, range.len() as u64);
        self.encoder = Some(encoder);
        self.submit();
        let (tx, done) = mpsc::channel();
        staging.map_async(wgpu::MapMode::Read, .., move |r| {
            let _ = tx.send(r);
        });
        self.ring.tickets += 1;
        let ticket = Ticket(self.ring.tickets);
        self.ring.slots[free].1 = Some(Flight {
            ticket,
            bytes: range.len(),
            done,
        });
        ticket
    }

    /// [`Runtime::take`](crate::runtime::Runtime::take).
    pub(super) fn take_copy(&mut self, ticket: Ticket, wait: bool) -> Result<Option<Vec<f32>>> {
        self.poll(wait)?;
        let slot = self
            .ring
            .slots
            .iter()
            .position(|(_, f)| f.as_ref().is_some_and(|f| f.ticket == ticket));
        let slot = slot.expect("a ticket is taken once");
        let (staging, flight) = &mut self.ring.slots[slot];
        let in_flight = flight.as_ref().expect("found by its ticket");
        match in_flight.done.try_recv() {
            Err(mpsc::TryRecvError::Empty) if !wait => return Ok(None),
            Ok(Ok(())) => {}
            _ => return Err(self.lost("a read did not complete")),
        }
        let bytes = in_flight.bytes;
        let mapped = staging
            .get_mapped_range(..)
            .map(|view| bytemuck::pod_collect_to_vec(&view[..bytes]));
        staging.unmap();
        *flight = None;
        mapped.map(Some).map_err(|e| self.lost(&e.to_string()))
    }

    pub(super) fn poll(&self, wait: bool) -> Result<()> {
        let kind = if wait {
            wgpu::PollType::wait_indefinitely()
        } else {
            wgpu::PollType::Poll
        };
        self.gpu
            .device
            .poll(kind)
            .map_err(|e| self.lost(&e.to_string()))?;
        self.gpu.fault()
    }

    /// The device's own fault, or what a failed call says.
    fn lost(&self, message: &str) -> Error {
        match self.gpu.fault() {
            Err(e) => e,
            Ok(()) => self.gpu.driver_error(message.to_owned()).into(),
        }
    }
}
