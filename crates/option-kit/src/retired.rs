//! Settings on their way out: a written one is a warning, never a fault.

use crate::field::Table;
use crate::written::{Origin, Values};

/// Returns a line for each retired setting that is written somewhere.
pub fn retired(table: Table, values: &Values) -> Vec<String> {
    let lines = table.iter().filter_map(|field| {
        let instead = field.retired?;
        let written = values.get(field.key)?;
        let is_written = written.origin != Origin::Default;
        is_written.then(|| format!("{} ({}) is retired: {instead}", field.key, written.origin))
    });
    lines.collect()
}

#[cfg(test)]
mod tests {
    use crate::{
        Layers, Options, Table, env_example, json_schema, number, reference, toml_example,
    };

    use super::retired;

    crate::options! {
        /// A section with one setting that goes.
        #[derive(Debug, PartialEq)]
        pub struct Pump in "pump" {
            /// Strokes a minute.
            strokes: u32 = "60", number(1..=600);
            /// Seconds for a stroke.
            pace: u32 = "1", number(1..=60), retired "use pump.strokes; without effect from 0.5 on";
        }
    }

    const TABLE: Table = Table(&[Pump::FIELDS]);

    #[test]
    fn a_written_retired_setting_is_a_warning_and_not_a_fault() {
        let mut layers = Layers::defaults(TABLE);
        assert!(retired(TABLE, &layers.values).is_empty());
        layers.add_file("pump.toml", "[pump]\npace = 2\nstrokes = 30");
        assert!(layers.faults.0.is_empty());
        assert_eq!(
            retired(TABLE, &layers.values),
            ["pump.pace (in pump.toml) is retired: use pump.strokes; without effect from 0.5 on"]
        );
    }

    #[test]
    fn the_examples_leave_it_out_and_editors_know_it() {
        let pages = [
            env_example(TABLE),
            toml_example(TABLE),
            reference(TABLE, &Pump::shapes()),
        ];
        for page in pages {
            assert!(!page.to_lowercase().contains("pace"), "{page}");
            assert!(page.to_lowercase().contains("strokes"), "{page}");
        }
        let schema = json_schema(TABLE, &Pump::shapes());
        let pace = &schema["properties"]["pump"]["properties"]["pace"];
        assert_eq!(pace["deprecated"], true);
    }
}
