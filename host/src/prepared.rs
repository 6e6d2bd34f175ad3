//! A method with its parameters, ready for one destination after the other.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use serde_json::{Map, Value as Json};
use sonde_plugin_api::{descriptor::ParamError, packet::Family, schema::Value};

use crate::Offer;

/// A method with all its parameters but the destination.
#[derive(Clone, Debug)]
pub struct Prepared {
    offer: Offer,
    given: BTreeMap<String, Value>,
    /// Made when the first destination of the family comes.
    families: [Option<Complete>; 2],
}

/// All parameters for a destination.
#[derive(Clone, Debug)]
pub(crate) struct Complete {
    /// In declared order.
    pub(crate) values: Vec<Value>,
    /// For the record, without the destination.
    pub(crate) parameters: Arc<Map<String, Json>>,
}

impl Prepared {
    /// `parameters` by flag name; defaults stand for the others.
    #[must_use]
    pub fn new(offer: Offer, parameters: BTreeMap<String, Value>) -> Self {
        Self { offer, given: parameters, families: [None, None] }
    }

    /// The method.
    #[must_use]
    pub fn offer(&self) -> &Offer {
        &self.offer
    }

    /// For one destination.
    ///
    /// # Errors
    ///
    /// Where a parameter is unknown or not acceptable.
    pub(crate) fn complete(&mut self, destination: IpAddr) -> Result<Complete, ParamError> {
        let family = Family::of(destination);
        let target = self.offer.target_index();
        let known = &mut self.families[usize::from(family == Family::V6)];
        let mut complete = match known {
            Some(complete) => complete.clone(),
            None => {
                let method = self.offer.method();
                let mut given = self.given.clone();
                if let Some(target) = target {
                    given.insert(method.parameters[target].name.clone(), Value::Ip(destination));
                }
                let values = method.values(&given, family)?;
                let named = method.parameters.iter().zip(&values).enumerate();
                let used =
                    named.filter(|(index, (_, value))| Some(*index) != target && !value.is_none());
                let parameters = used
                    .map(|(_, (parameter, value))| (parameter.name.clone(), value.to_json()))
                    .collect();
                let complete = Complete { values, parameters: Arc::new(parameters) };
                known.insert(complete).clone()
            }
        };
        if let Some(value) = target.and_then(|target| complete.values.get_mut(target)) {
            *value = Value::Ip(destination);
        }
        Ok(complete)
    }
}
