//! Reading typed values out of the layers.

use crate::fault::{Fault, Faults};
use crate::kind::{Kind, Shape};
use crate::layers::Layers;
use crate::rule::Rule;
use crate::written::Values;

/// Reads values and collects faults.
#[derive(Debug)]
pub struct SettingsReader {
    layers: Layers,
}

impl SettingsReader {
    /// Reads from these layers, and keeps their faults.
    pub fn new(layers: Layers) -> Self {
        Self { layers }
    }

    /// Reads the value of a setting. One that does not parse becomes a fault and takes the default.
    pub fn read<T: Default>(&mut self, key: &'static str, kind: Kind<T>) -> T {
        let Some((field, written)) = self.layers.table.find(key).zip(self.layers.get(key)) else {
            // A test of the composed settings proves that no key is missing.
            let message = format!("{key} is not in the table of settings");
            let key = key.to_owned();
            self.layers.faults.0.push(Fault { key, message });
            return T::default();
        };
        let origin = written.origin.clone();
        if *kind.shape() == Shape::Text && written.bare {
            let what = "must be a string, in quotes";
            self.layers.faults.add(key, &origin, what);
            return T::default();
        }
        match kind.parse(&written.text) {
            Ok(value) => value,
            Err(rule) => {
                let what = format!("is {:?}, {rule}", written.shown(field));
                self.layers.faults.add(key, &origin, what);
                kind.parse(field.default).unwrap_or_default()
            }
        }
    }

    /// Reports each broken rule, unless one of its settings has a fault already.
    pub fn check<T>(&mut self, value: &T, rules: &[Rule<T>]) {
        // The part of a file that was not understood may hold values that satisfy the rules.
        if self.layers.incomplete {
            return;
        }
        for rule in rules.iter().filter(|rule| !(rule.holds)(value)) {
            let faults = &self.layers.faults.0;
            let is_faulty = |key: &&str| faults.iter().any(|fault| fault.key == *key);
            if rule.keys.iter().any(is_faulty) {
                continue;
            }
            let shown = rule.keys.iter().take(2).filter_map(|key| {
                let field = self.layers.table.find(key)?;
                let written = self.layers.get(key)?;
                let text = written.shown(field);
                Some(format!("{key} is {text:?} ({})", written.origin))
            });
            let shown = shown.collect::<Vec<_>>().join(" but ");
            let key = rule.keys.first().copied().unwrap_or_default().to_owned();
            let message = format!("{shown}: {}", rule.words);
            self.layers.faults.0.push(Fault { key, message });
        }
    }

    /// Returns the texts that were read.
    pub fn values(&self) -> &Values {
        &self.layers.values
    }

    /// Ends the reading.
    ///
    /// # Errors
    /// Returns every fault of the layers, the values and the rules.
    pub fn finish(self) -> Result<(), Faults> {
        if self.layers.faults.0.is_empty() {
            Ok(())
        } else {
            Err(self.layers.faults)
        }
    }
}
