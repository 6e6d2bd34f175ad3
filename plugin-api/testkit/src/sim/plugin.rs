//! The object behind the binary interface, with its batches.

use std::{any::TypeId, collections::BTreeMap, marker::PhantomData, net::IpAddr, rc::Rc};

use sonde_packet::Family;
use sonde_plugin_api::{
    Method,
    abi::{Batch, Event, EventKind, InstanceBox, NO_TOKEN, Out},
    descriptor::{Descriptor, MethodDescriptor},
    glue::{self, MethodEntry},
    params::ParamError,
    schema::Value,
};

/// Number and name of the interface that all packets come in by.
pub(super) const INTERFACE: (u8, &str) = (1, "sim0");

/// The methods of a plugin that has only one.
struct Only<M>(PhantomData<M>);

impl<M: Method> Only<M> {
    const ENTRIES: &'static [MethodEntry] = &[MethodEntry::of::<M>()];
}

pub(super) struct Plugin {
    instance: InstanceBox,
    /// In the order of the descriptor.
    pub(super) methods: Vec<Rc<MethodDescriptor>>,
    /// The method, where it is compiled into the test.
    kind: Option<TypeId>,
    events: Vec<Event>,
    octets: Vec<u8>,
}

impl Plugin {
    pub(super) fn loaded(instance: InstanceBox, descriptor: Descriptor) -> Self {
        let methods = descriptor.methods.into_iter().map(Rc::new).collect();
        let (events, octets) = (Vec::new(), Vec::new());
        let mut plugin = Self { instance, methods, kind: None, events, octets };
        let named =
            Event { kind: EventKind::Interface, code: INTERFACE.0, task: NO_TOKEN, ..Event::ZERO };
        plugin.push(named, INTERFACE.1.as_bytes());
        plugin
    }

    pub(super) fn of<M: Method>() -> Self {
        let methods = vec![glue::describe_method::<M>()];
        let descriptor = Descriptor::new(M::NAME, "0.0.0", methods);
        let descriptor = match Descriptor::from_json(&descriptor.to_json()) {
            Ok(descriptor) => descriptor,
            Err(error) => panic!("no host takes the method {}: {error}", M::NAME),
        };
        let mut plugin = Self::loaded(glue::instance_of(Only::<M>::ENTRIES), descriptor);
        plugin.kind = Some(TypeId::of::<M>());
        plugin
    }

    pub(super) fn is_of<M: Method>(&self) -> bool {
        self.kind == Some(TypeId::of::<M>())
    }

    /// Index of the method of that name.
    pub(super) fn method(&self, name: &str) -> Option<u16> {
        let index = self.methods.iter().position(|method| method.name == name)?;
        u16::try_from(index).ok()
    }

    pub(super) fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    pub(super) fn push(&mut self, mut event: Event, payload: &[u8]) {
        event.off = self.octets.len() as u32;
        event.len = payload.len() as u32;
        self.octets.extend_from_slice(payload);
        self.events.push(event);
    }

    /// Hands the events over; what the tasks want.
    pub(super) fn poll(&mut self, now: u64, wall: u64) -> Out {
        let (events, octets) = (std::mem::take(&mut self.events), std::mem::take(&mut self.octets));
        let mut out = Out::default();
        let batch = Batch { now, wall, events: events[..].into(), bytes: octets[..].into() };
        self.instance.poll(batch, &mut out);
        out
    }
}

/// Parameters given as text, for a task. The family is that of the first address among them.
pub(super) fn encode<'a>(
    method: &MethodDescriptor,
    parameters: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Result<Vec<u8>, ParamError> {
    let mut family = None;
    let mut values = BTreeMap::new();
    for (key, text) in parameters {
        family = family.or_else(|| text.parse::<IpAddr>().ok().map(Family::of));
        values.insert(key.to_owned(), Value::Text(text.to_owned()));
    }
    method.encode(&values, family.unwrap_or(Family::V4))
}
