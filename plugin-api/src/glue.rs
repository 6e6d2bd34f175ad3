//! The plugin's side of the binary interface: batches in, tasks polled one by one, panics caught.
//!
//! [`export_methods!`](crate::export_methods) makes a plugin of methods; [`instance_of`] drives
//! the same code without a library, for tests and the simulator.
#![allow(unsafe_code)] // a prefetch; and the exported symbol

mod panics;

use std::{sync::atomic::Ordering::Relaxed, task::Poll};

use abi_stable::{
    sabi_trait::TD_Opaque,
    std_types::{RErr, ROk, RResult, RStr, RString},
};

use self::panics::{caught, guarded};
use crate::{
    abi::{
        Action, ActionKind, Batch, Event, EventKind, FailKind, Instance, Instance_TO, InstanceBox,
        NO_TOKEN, Out, Usage,
    },
    author::{End, Fail, Host, Interfaces, Method, Task},
    descriptor::{Descriptor, InPlaceOfOne, MethodDescriptor},
    params::Params,
    row::Rows,
};

/// Hosts number tasks densely from 0: beyond this something is wrong.
const MOST_TASKS: usize = 1 << 24;

/// Of the text of a failure; the rest is cut.
const MOST_TEXT_OCTETS: usize = 4096;

/// How far ahead of an event its task's place in the table is fetched, and the task itself.
const FAR: usize = 16;
const NEAR: usize = 6;

/// A method with its type erased.
pub struct MethodEntry {
    name: &'static str,
    describe: fn() -> MethodDescriptor,
    start: fn(parameters: &[u8], task: u32, seed: u64, host: &Host<'_>) -> Result<Task, String>,
}

impl std::fmt::Debug for MethodEntry {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_tuple("MethodEntry").field(&self.name).finish()
    }
}

impl MethodEntry {
    /// Of a method.
    #[must_use]
    pub const fn of<M: Method>() -> Self {
        Self {
            name: M::NAME,
            describe: describe_method::<M>,
            start: |parameters, task, seed, host| {
                let params = M::Params::decode(parameters).map_err(|error| error.to_string())?;
                Ok(Task::spawn(task, seed, host, |ctx| M::run(ctx, params)))
            },
        }
    }

    /// As in the descriptor.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// What the method says of itself.
    #[must_use]
    pub fn describe(&self) -> MethodDescriptor {
        (self.describe)()
    }
}

/// What a method says of itself.
#[must_use]
pub fn describe_method<M: Method>() -> MethodDescriptor {
    MethodDescriptor {
        name: M::NAME.to_owned(),
        doc: M::DOC.to_owned(),
        source: M::SOURCE.to_owned(),
        parting_packets: M::PARTING_PACKETS,
        packet_budget: M::PACKET_BUDGET,
        needs: M::NEEDS.to_vec(),
        wants: M::WANTS.to_vec(),
        parameters: M::Params::parameters(),
        tables: M::Row::tables(),
        capabilities: M::capabilities(),
        text: M::text(),
        graph: M::graph(),
    }
}

/// The descriptor of a plugin as JSON.
#[must_use]
pub fn describe_json(plugin: &str, version: &str, methods: &[MethodEntry]) -> String {
    let methods = methods.iter().map(MethodEntry::describe).collect();
    Descriptor::new(plugin, version, methods).to_json()
}

/// What a host would get from a plugin with these methods, without a library.
#[must_use]
pub fn instance_of(methods: &'static [MethodEntry]) -> InstanceBox {
    panics::install_hook();
    let interfaces = Interfaces::default();
    let tasks = Tasks { methods, tasks: Vec::new(), live: 0, panics: 0, interfaces };
    Instance_TO::from_value(tasks, TD_Opaque)
}

/// Called by [`export_methods!`](crate::export_methods).
#[doc(hidden)]
pub fn exported_describe(plugin: &str, version: &str, methods: &[MethodEntry]) -> RString {
    panics::install_hook();
    guarded(|| describe_json(plugin, version, methods))
        .unwrap_or_else(|error| InPlaceOfOne { error }.to_json())
        .into()
}

/// Called by [`export_methods!`](crate::export_methods).
#[doc(hidden)]
pub fn exported_instance(
    methods: &'static [MethodEntry],
    _config: RStr<'_>,
) -> RResult<InstanceBox, RString> {
    panics::install_hook();
    match guarded(|| instance_of(methods)) {
        Ok(instance) => ROk(instance),
        Err(text) => RErr(text.into()),
    }
}

/// The tasks of one plugin on one engine thread.
struct Tasks {
    methods: &'static [MethodEntry],
    /// By number.
    tasks: Vec<Option<Task>>,
    live: u64,
    panics: u64,
    interfaces: Interfaces,
}

impl Instance for Tasks {
    fn poll(&mut self, batch: Batch<'_>, out: &mut Out) {
        let (events, octets) = (batch.events.as_slice(), batch.bytes.as_slice());
        // Once a batch: a thread-local is a function call in a shared library.
        let _guard = panics::Guard::new();
        let interfaces = self.interfaces.clone();
        for event in events.iter().take(FAR) {
            self.fetch_place(event);
        }
        for event in events.iter().take(NEAR) {
            self.fetch_task(event);
        }
        for (index, event) in events.iter().enumerate() {
            if let Some(later) = events.get(index + FAR) {
                self.fetch_place(later);
            }
            if let Some(later) = events.get(index + NEAR) {
                self.fetch_task(later);
            }
            out.cursor.store(event.task, Relaxed);
            let begin = event.off as usize;
            let end = begin.saturating_add(event.len as usize);
            let payload = octets.get(begin..end).unwrap_or_default();
            let mut host = Host { now: batch.now, wall: batch.wall, out, interfaces: &interfaces };
            if let Err(text) = caught(|| self.on_event(event, payload, &mut host)) {
                self.panics += 1;
                // The task may be gone by now, where its destructor panicked. A second panic
                // leaks what is left of it: better than taking the neighbours along.
                let task = self.remove(event.task);
                if caught(|| drop(task)).is_err() {
                    self.panics += 1;
                }
                fail(out, event.task, FailKind::Panic, &text);
            }
        }
        out.cursor.store(NO_TOKEN, Relaxed);
    }

    fn usage(&self) -> Usage {
        Usage { tasks: self.live, panics: self.panics, heap_octets: crate::alloc::octets() }
    }
}

impl Tasks {
    #[inline]
    fn on_event(&mut self, event: &Event, payload: &[u8], host: &mut Host<'_>) {
        match event.kind {
            EventKind::Start => {
                if let Err(text) = self.start(event, payload, host) {
                    return fail(host.out, event.task, FailKind::BadParams, &text);
                }
            }
            EventKind::Drop => return drop(self.remove(event.task)),
            EventKind::Interface => return self.interfaces.put(event.code, payload),
            _ => {}
        }
        let Some(Some(task)) = self.tasks.get_mut(event.task as usize) else { return };
        if let Poll::Ready(end) = task.on_event(event, payload, host) {
            // First of all: a destructor that panics makes the end a failure.
            drop(self.remove(event.task));
            finish(host.out, event.task, end);
        }
    }

    fn start(&mut self, event: &Event, payload: &[u8], host: &Host<'_>) -> Result<(), String> {
        let number = event.task as usize;
        if number >= MOST_TASKS {
            return Err(format!("task {number} is beyond {MOST_TASKS}"));
        }
        let Some(method) = self.methods.get(usize::from(event.aux)) else {
            return Err(format!("no method has the index {}", event.aux));
        };
        // A host that starts a number twice has let go of the first.
        drop(self.remove(event.task));
        let task = (method.start)(payload, event.task, event.sent, host)?;
        if self.tasks.len() <= number {
            self.tasks.resize_with(number + 1, || None);
        }
        self.tasks[number] = Some(task);
        self.live += 1;
        Ok(())
    }

    fn remove(&mut self, number: u32) -> Option<Task> {
        let task = self.tasks.get_mut(number as usize)?.take();
        self.live -= u64::from(task.is_some());
        task
    }

    #[inline]
    fn fetch_place(&self, event: &Event) {
        if let Some(place) = self.tasks.get(event.task as usize) {
            prefetch(std::ptr::from_ref(place).cast());
        }
    }

    #[inline]
    fn fetch_task(&self, event: &Event) {
        if let Some(Some(task)) = self.tasks.get(event.task as usize) {
            let (start, octets) = task.extent();
            // Bounded: behind the first kilobyte a method has what it rarely needs.
            let octets = octets.min(1024);
            let mut line = 0;
            while line < octets {
                prefetch(start.wrapping_add(line));
                line += 64;
            }
        }
    }
}

#[inline]
fn prefetch(address: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a hint; the address need not even be mapped.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch(address.cast(), _MM_HINT_T0);
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

fn finish(out: &mut Out, task: u32, end: End) {
    match end {
        Ok(stop) => said(out, task, ActionKind::Finish, 0, &stop.unwrap_or_default()),
        Err(Fail { kind, message }) => fail(out, task, kind, &message),
    }
}

fn fail(out: &mut Out, task: u32, kind: FailKind, text: &str) {
    said(out, task, ActionKind::Fail, kind.0, text);
}

fn said(out: &mut Out, task: u32, kind: ActionKind, code: u8, text: &str) {
    let mut length = text.len().min(MOST_TEXT_OCTETS);
    while !text.is_char_boundary(length) {
        length -= 1;
    }
    // In range: what a batch may put out is bounded, see `Head::try_write`.
    let (off, len) = (out.bytes.len() as u32, length as u32);
    out.bytes.extend_from_copy_slice(&text.as_bytes()[..length]);
    out.actions.push(Action { kind, code, task, off, len, ..Action::ZERO });
}

/// Makes this crate a plugin with the listed methods.
///
/// The crate must be a `cdylib` and needs no dependency but `sonde-plugin-api`. For tests there
/// is `METHODS`, to be given to [`instance_of`](crate::glue::instance_of).
///
/// ```ignore
/// sonde_plugin_api::export_methods![Ping];
/// ```
#[macro_export]
macro_rules! export_methods {
    [$($method:ty),+ $(,)?] => {
        /// The methods of this plugin, in the order of the descriptor.
        pub static METHODS: &[$crate::glue::MethodEntry] =
            &[$($crate::glue::MethodEntry::of::<$method>()),+];

        #[doc(hidden)]
        #[allow(missing_docs, unreachable_pub, unsafe_code)]
        mod __sonde_export {
            use $crate::__private::abi_stable::{
                library::{
                    CheckTypeLayout, LibHeader, RootModuleResult, __call_root_module_loader,
                },
                prefix_type::PrefixTypeTrait,
                std_types::{RResult, RStr, RString},
            };

            extern "C" fn describe() -> RString {
                $crate::glue::exported_describe(
                    env!("CARGO_PKG_NAME"),
                    env!("CARGO_PKG_VERSION"),
                    super::METHODS,
                )
            }

            extern "C" fn instance(
                config: RStr<'_>,
            ) -> RResult<$crate::abi::InstanceBox, RString> {
                $crate::glue::exported_instance(super::METHODS, config)
            }

            fn root() -> $crate::abi::PluginRef {
                $crate::abi::Plugin { build: $crate::abi::BuildInfo::HERE, describe, instance }
                    .leak_into_prefix()
            }

            extern "C" fn load() -> RootModuleResult {
                __call_root_module_loader(root)
            }

            #[cfg(not(test))]
            #[global_allocator]
            static ALLOCATOR: $crate::alloc::Counted = $crate::alloc::Counted;

            // SAFETY of the name: nothing else is called so; of the header: `load` gives the root
            // module of this type.
            #[cfg_attr(not(test), unsafe(export_name = "sonde_plugin"))]
            pub static HEADER: LibHeader = unsafe {
                LibHeader::from_constructor::<$crate::abi::PluginRef>(load, CheckTypeLayout::Yes)
            };
        }
    };
}
