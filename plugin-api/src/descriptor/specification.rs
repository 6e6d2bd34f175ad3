//! From a specification of a capability to the parameters of a measurement.

use std::collections::BTreeMap;

use sonde_packet::Family;

use super::{MethodDescriptor, View, expand};
use crate::params::{ParamError, Problem};
use crate::schema::Value;
use crate::text;

impl MethodDescriptor {
    /// What a specification of `view` gives for [`MethodDescriptor::values`]: its own values, the
    /// defaults of the view for those that are missing or say "default", and the view's presets.
    ///
    /// A source that the method does not ask for is left out, for the host sees to it. Whether the
    /// values meet the view's constraints is checked by who knows mPlane's types.
    ///
    /// # Errors
    ///
    /// [`ParamError`] for a value that the view does not offer, or the method does not accept.
    pub fn specified(
        &self,
        view: &View,
        given: &BTreeMap<String, Value>,
        family: Family,
    ) -> Result<BTreeMap<String, Value>, ParamError> {
        let is_same = |element: &str, key: &str| element == key || expand(element, family) == key;
        let offered = || view.parameters.iter().map(|parameter| parameter.element.as_str());
        for key in given.keys() {
            if !offered().any(|element| is_same(element, key)) {
                let near = text::nearest(key, offered()).map(|near| expand(near, family));
                let problem = Problem::Unknown { method: expand(&view.label, family), near };
                return Err(ParamError::new(key, key, problem));
            }
        }
        let mut values = BTreeMap::new();
        for offered in &view.parameters {
            let Some(parameter) = self.parameter(&offered.element) else { continue };
            let value = given
                .iter()
                .find(|(key, _)| is_same(&offered.element, key))
                .map(|(_, value)| parameter.accept(value, family))
                .transpose()?
                .filter(|value| !value.is_none());
            let default = || parameter.from_json(offered.default.as_ref()?);
            if let Some(value) = value.or_else(default) {
                values.insert(parameter.element.clone(), value);
            }
        }
        for preset in &view.presets {
            if let Some(parameter) = self.parameter(&preset.element)
                && let Some(value) = parameter.from_json(&preset.value)
            {
                values.insert(parameter.element.clone(), value);
            }
        }
        Ok(values)
    }
}
