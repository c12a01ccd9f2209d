//! From sums of products to the bytes of the next layer, a code or an image.

use std::vec::Vec;

use super::geometry::Plane;
use super::isa::{Clamp, Element, Isa, Scales, portable};
use crate::layer::Layer;

/// Where a layer writes: the next layer's [`Plane`](super::geometry::Plane), or `(H, W, C)` of codes and pixels.
pub(super) enum Sink<'a, E> {
    Activations(&'a mut [E]),
    Code(&'a mut [i16]),
    Pixels(&'a mut [u8]),
}

impl<E> Sink<'_, E> {
    pub(super) fn reborrow(&mut self) -> Sink<'_, E> {
        match self {
            Sink::Activations(to) => Sink::Activations(to),
            Sink::Code(to) => Sink::Code(to),
            Sink::Pixels(to) => Sink::Pixels(to),
        }
    }
}

/// A table that all activations of a layer go through, and where they lie.
pub(super) struct ActivationTable<E> {
    /// One for each int8, from the least on.
    entries: Vec<E>,
    plane: Plane,
}

impl<E: Element> ActivationTable<E> {
    /// That of a layer whose output lies in `plane`, if it has one.
    pub(super) fn new(layer: &Layer<'_>, plane: &Plane) -> Option<Self> {
        let entries = || layer.table.iter().map(|entry| E::new(entry.cast_signed().into())).collect();
        layer.has_activation_table().then(|| ActivationTable { entries: entries(), plane: *plane })
    }

    /// Replaces each activation by its entry.
    pub(super) fn look_up(&self, memory: &mut [E]) {
        for activation in self.plane.rows(memory).flatten() {
            *activation = self.entries[activation.index()];
        }
    }
}

/// What a layer does with its accumulators, all but the numbers of each output.
pub(super) struct Output {
    shift: u8,
    clamp: Clamp,
    table: Vec<u8>,
}

impl Output {
    pub(super) fn new(layer: &Layer<'_>) -> Self {
        let record = &layer.record;
        Output {
            shift: record.shift,
            clamp: Clamp {
                zero_point: record.output_zero_point.into(),
                minimum: record.minimum.into(),
                maximum: record.maximum.into(),
            },
            table: layer.table.to_vec(),
        }
    }

    /// Adds biases to sums and rescales them.
    #[inline(always)]
    pub(super) fn rescale<I: Isa>(&self, isa: I, sums: &mut [i32], scales: Scales<'_>) {
        if self.shift >= 33 {
            return isa.rescale(sums, scales, self.shift);
        }
        portable::rescale(sums, scales, self.shift);
    }

    /// Turns sums into outputs, the first `count` of them at elements `at..`.
    #[inline(always)]
    pub(super) fn finish<I: Isa>(
        &self,
        isa: I,
        sums: &mut [i32],
        scales: Scales<'_>,
        count: usize,
        at: usize,
        sink: &mut Sink<'_, I::Element>,
    ) {
        if let Sink::Activations(to) = sink
            && self.shift >= 33
            && count == sums.len()
        {
            return isa.activate(sums, scales, self.shift, self.clamp, &mut to[at..at + count]);
        }
        self.rescale(isa, sums, scales);
        self.write(&sums[..count], at.., sink);
    }

    /// Writes rescaled sums to elements, one each.
    #[inline(always)]
    pub(super) fn write<E: Element>(
        &self,
        scaled: &[i32],
        places: impl IntoIterator<Item = usize>,
        sink: &mut Sink<'_, E>,
    ) {
        let places = places.into_iter().zip(scaled);
        match sink {
            Sink::Activations(to) => places.for_each(|(at, scaled)| to[at] = self.clamp.activation(*scaled)),
            Sink::Code(to) => {
                places.for_each(|(at, scaled)| to[at] = *scaled.max(&i16::MIN.into()).min(&i16::MAX.into()) as i16);
            }
            Sink::Pixels(to) => {
                let (half, last) = ((self.table.len() / 2) as i32, self.table.len().saturating_sub(1) as i32);
                places.for_each(|(at, scaled)| to[at] = self.table[(scaled + half).max(0).min(last) as usize]);
            }
        }
    }
}
